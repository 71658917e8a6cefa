"""The script of the HTML report: draws the charts, and copies a genotype.

It is the same in every report, so that the security policy can allow it by its hash.
"""

SCRIPT = """
'use strict';
const dark = matchMedia('(prefers-color-scheme: dark)');

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function theme(width) {
  const ink = colour('--ink'), soft = colour('--soft'), line = colour('--line');
  const narrow = width < 420;
  const apart = ['--low-1', '--low-0', '--even', '--high-0', '--high-1'].map(colour);
  const ramp = ['--ramp-0', '--ramp-1', '--ramp-2', '--ramp-3'].map(colour);
  const font = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
  return {
    background: 'transparent', font: font,
    view: {stroke: line},
    axis: {labelColor: soft, titleColor: soft, gridColor: line, domainColor: line,
           tickColor: line, titleFontWeight: 'normal', labelFontSize: 11,
           titleFontSize: 12},
    axisX: {labelOverlap: 'greedy', labelSeparation: 8, labelLimit: 110,
            tickCount: narrow ? 4 : 6},
    axisY: {labelLimit: narrow ? 130 : 230, tickCount: 6},
    legend: {orient: 'top', layout: {top: {direction: 'vertical', anchor: 'start'}},
             columns: narrow ? 1 : 2, labelColor: ink,
             titleColor: soft, titleFontWeight: 'normal', labelFontSize: 12,
             labelLimit: Math.max(80, narrow ? width - 60 : width / 2 - 50),
             symbolOpacity: 1, gradientLength: Math.min(220, width / 2)},
    title: {color: soft, subtitleColor: soft, subtitleFontSize: 12, anchor: 'start'},
    text: {color: ink}, rule: {color: soft}, tick: {color: ink}, line: {strokeWidth: 2},
    mark: {color: colour('--mark')},
    range: {category: ['--c0', '--c1', '--c2', '--c3', '--c4', '--c5', '--c6', '--c7',
                       '--c8', '--c9'].map(colour), heatmap: ramp, ramp: ramp,
            diverging: apart}
  };
}

async function draw(box) {
  const spec = JSON.parse(document.getElementById(box.dataset.chart).textContent);
  const width = box.clientWidth;
  let frame = null;
  if (box.chart) {
    try { frame = box.chart.view.signal('frame'); } catch (none) { frame = null; }
    box.chart.finalize();
  }
  const chart = await vegaEmbed(box, spec, {
    ast: true, renderer: 'canvas', mode: 'vega-lite', actions: false,
    defaultStyle: false, tooltip: {disableDefaultStyle: true},
    config: theme(width)});
  box.chart = chart;
  if (frame !== null) { await chart.view.signal('frame', frame).runAsync(); }
  box.dataset.drawn = dark.matches ? 'dark' : 'light';
}

function drawAll() {
  for (const box of document.querySelectorAll('[data-chart]')) {
    draw(box).catch(function (error) {
      box.textContent = 'This chart could not be drawn: ' + error;
      console.error(String(error));
    });
  }
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy);
  const range = document.createRange();
  range.selectNodeContents(text);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  let done = false;
  try {
    await navigator.clipboard.writeText(text.textContent);
    done = true;
  } catch (refused) {
    done = document.execCommand('copy');
  }
  button.textContent = done ? 'Copied' : 'Selected';
  setTimeout(function () { button.textContent = 'Copy'; }, 2000);
}

for (const button of document.querySelectorAll('button[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', function () { copy(button); });
}
if (typeof vegaEmbed === 'function') {
  drawAll();
  dark.addEventListener('change', drawAll);
}
"""
