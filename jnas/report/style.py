"""The style sheet of the page: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6879; --line: #dde2ea;
  --page: #f5f7fa; --card: #ffffff; --mark: #2457c5; --band: #f0f3f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f1; --soft: #98a4b6;
  --line: #2c3543; --page: #11161e; --card: #19202b; --mark: #8ab0ff;
  --band: #202937; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 18px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 18px 0 6px; color: var(--soft); font-weight: 600; }
p.lead, p.note { color: var(--soft); margin: 0 0 18px; }
p.note { font-size: 13px; margin: 8px 0 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 16px; }
.tiles { display: grid; gap: 12px; margin: 0 0 16px;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; min-width: 0; }
.tile b { display: block; font-size: 22px; font-weight: 650; color: var(--mark);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.wide td { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 5px 20px 5px 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; }
td:last-child, th:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
.names th { width: 11em; border-bottom: 1px solid var(--line); }
.names tr:last-child th { border-bottom: 0; }
.names td { overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  font-size: 13px; }
pre { background: var(--band); border-radius: 8px; padding: 12px 14px; margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }
figure { margin: 0 0 14px; }
figure svg { width: 100%; min-width: 640px; max-width: 1100px; height: auto;
  display: block; }
figcaption { color: var(--soft); font-size: 13px; }
@media (max-width: 560px) { main { padding: 18px 10px 40px; }
  section { padding: 14px; } th, td { padding-right: 11px; }
  .names th { width: 7.5em; white-space: normal; } }
"""
