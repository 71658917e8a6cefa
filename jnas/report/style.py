"""The style sheet of the HTML report, for light and dark, wide and narrow screens.

--c0 to --c9 are the colours of lines, after Okabe and Ito, which colour-blind readers
can distinguish. --ramp-0 to --ramp-3 are the colours of scales from low to high, and
--low-1 to --high-1 those of scales around a middle, --even.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6879; --line: #dde2ea;
  --page: #f5f7fa; --card: #ffffff; --mark: #2457c5; --band: #f0f3f8;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b88600;
  --c5: #56b4e9; --c6: #7a5195; --c7: #8c564b; --c8: #6b7280; --c9: #a0b000;
  --ramp-0: #eef2f9; --ramp-1: #a5c0ee; --ramp-2: #3d6fd1; --ramp-3: #122b66;
  --low-1: #8a3b00; --low-0: #e8a36f; --even: #eef0f3; --high-0: #79a6e3;
  --high-1: #12408f; --warn: #9a4b00; --warn-band: #fff4e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f1; --soft: #98a4b6;
  --line: #2c3543; --page: #11161e; --card: #19202b; --mark: #8ab0ff;
  --band: #202937;
  --c0: #4aa8e8; --c1: #f28a4b; --c2: #2fc79b; --c3: #e39bc4; --c4: #e6b422;
  --c5: #9bd4f5; --c6: #b79ae0; --c7: #c9968a; --c8: #a3acba; --c9: #c8d84a;
  --ramp-0: #212a38; --ramp-1: #2f4f94; --ramp-2: #6f9bff; --ramp-3: #e9efff;
  --low-1: #ffab70; --low-0: #a2592a; --even: #232b37; --high-0: #3568b5;
  --high-1: #9cc4ff; --warn: #ffb865; --warn-band: #2e2413; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 28px 18px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; overflow-wrap: anywhere; }
h3 { font-size: 14px; margin: 0 0 6px; color: var(--soft); font-weight: 600;
  overflow-wrap: anywhere; }
* + h3, .charts + .wide { margin-top: 18px; }
.chart h3 { margin-top: 0; }
p.lead, p.note { color: var(--soft); margin: 0 0 18px; overflow-wrap: anywhere; }
p.note { font-size: 13px; margin: 8px 0 0; }
a { color: var(--mark); }
nav { margin: 0 0 16px; font-size: 14px; display: flex; flex-wrap: wrap;
  gap: 2px 16px; }
nav a { text-decoration: none; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 16px; }
.warnings { background: var(--warn-band); border: 1px solid var(--warn);
  border-radius: 10px; padding: 12px 20px; margin: 0 0 16px; }
.warnings b { color: var(--warn); }
.warnings ul, .headline ul { margin: 4px 0 0; padding-left: 20px; }
.warnings li, .headline li { overflow-wrap: anywhere; }
.headline { margin: 0 0 18px; font-size: 17px; }
.headline p { margin: 0 0 6px; overflow-wrap: break-word; }
.headline p.verdict { font-weight: 650; }
.headline p.next { font-size: 15px; display: flex; gap: 10px; align-items: baseline; }
.headline button { margin: 0; }
.headline details { font-size: 15px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; flex: 1 1 150px; min-width: min-content; max-width: 100%; }
.tile b { display: block; font-size: 22px; font-weight: 650; color: var(--mark);
  font-variant-numeric: tabular-nums; white-space: nowrap; overflow-x: auto; }
.tile span { color: var(--soft); font-size: 13px; white-space: nowrap; }
.charts { display: grid; gap: 26px 30px; grid-template-columns: repeat(auto-fit,
  minmax(min(100%, 440px), 1fr)); }
.chart { margin: 0; min-width: 0; }
.canvas { width: 100%; min-height: 60px; overflow: hidden; }
.canvas canvas { display: block; max-width: 100%; }
.vega-bindings { margin: 8px 0 0; font-size: 13px; color: var(--soft); }
.vega-bind { display: flex; align-items: center; gap: 8px; }
.vega-bind label { display: flex; align-items: center; gap: 8px; width: 100%; }
.vega-bind input { flex: 1; min-width: 0; max-width: 340px; height: 28px;
  accent-color: var(--mark); }
.vega-bind label > span:last-child { min-width: 2.5em;
  font-variant-numeric: tabular-nums; }
#vg-tooltip-element { position: fixed; z-index: 9; padding: 7px 10px; max-width: 320px;
  visibility: hidden; pointer-events: none; font-size: 12px; border-radius: 7px;
  background: var(--card); color: var(--ink); border: 1px solid var(--line);
  box-shadow: 0 3px 12px rgba(0, 0, 0, 0.25); overflow-wrap: anywhere; }
#vg-tooltip-element.visible { visibility: visible; }
#vg-tooltip-element table { width: auto; font-size: 12px; }
#vg-tooltip-element td { border: 0; padding: 1px 8px 1px 0; }
#vg-tooltip-element td.key { color: var(--soft); white-space: nowrap; }
.wide { overflow-x: auto; }
.wide td { white-space: nowrap; }
.whole { display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
.wide td.long { white-space: normal; min-width: 34em; overflow-wrap: anywhere;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 5px 20px 5px 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; }
td:last-child, th:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
.names { table-layout: fixed; }
.names th { width: 11em; border-bottom: 1px solid var(--line); white-space: normal;
  overflow-wrap: anywhere; }
.names tr:last-child th { border-bottom: 0; }
.names td { overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
details:first-of-type { border-top: 0; }
summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
details > * + * { margin-top: 12px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  font-size: 13px; }
pre { background: var(--band); border-radius: 8px; padding: 12px 14px; margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; max-height: 320px;
  overflow-y: auto; }
button { font: inherit; font-size: 13px; color: var(--mark); background: var(--band);
  border: 1px solid var(--line); border-radius: 7px; padding: 4px 14px;
  margin: 0 0 8px; cursor: pointer; }
figure { margin: 0 0 14px; }
figure svg { width: 100%; min-width: 640px; max-width: 1100px; height: auto;
  display: block; }
figcaption { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.matrix td, .matrix th { padding: 4px 9px; }
.matrix { width: auto; }
.hit { --shade: var(--c2); } .miss { --shade: var(--c1); }
.level-1 { background: color-mix(in srgb, var(--shade) 12%, transparent); }
.level-2 { background: color-mix(in srgb, var(--shade) 24%, transparent); }
.level-3 { background: color-mix(in srgb, var(--shade) 36%, transparent); }
.level-4 { background: color-mix(in srgb, var(--shade) 48%, transparent); }
.level-5 { background: color-mix(in srgb, var(--shade) 60%, transparent); }
.images { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill,
  minmax(150px, 1fr)); }
.images figure { margin: 0; }
.images img { width: 128px; max-width: 100%; image-rendering: pixelated;
  border: 1px solid var(--line); border-radius: 6px; }
@media (max-width: 560px) { main { padding: 18px 10px 40px; }
  section { padding: 14px; } th, td { padding-right: 11px; }
  .names th { width: 7.5em; } .tiles { gap: 8px; } .tile { padding: 8px 12px; }
  .tile b { font-size: 19px; } .headline { font-size: 16px; } }
"""
