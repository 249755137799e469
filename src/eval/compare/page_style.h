// The style sheet of compare.html. Private to eval.
#pragma once

#include <string_view>

namespace esa {

inline constexpr int kSeriesColours = 8;  // classes s0 to s7; random, streaming and oracle beside

// Colours after Okabe and Ito, darkened on white and lightened on black for contrast.
inline constexpr std::string_view kPageStyle = R"css(
:root { color-scheme: light dark; --bg: #ffffff; --fg: #1b1f24; --soft: #59636e; --rule: #d9dee3;
  --panel: #f6f8fa; --grid: #e6e9ed; --c0: #0072b2; --c1: #c24e00; --c2: #00805c; --c3: #a63d8c;
  --c4: #8a6d00; --c5: #5b4bc4; --c6: #7a3b12; --c7: #007a87; --random: #6e7781;
  --streaming: #8c959f; --oracle: #1b1f24; }
@media (prefers-color-scheme: dark) { :root { --bg: #0f1318; --fg: #e6edf3; --soft: #9aa5b1;
  --rule: #303841; --panel: #171c23; --grid: #262d35; --c0: #5ab0ea; --c1: #ff924a; --c2: #3fd3a3;
  --c3: #e88fcb; --c4: #e8c33a; --c5: #ab9fff; --c6: #d9a273; --c7: #55d3e4; --random: #a3adb8;
  --streaming: #7d8894; --oracle: #e6edf3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 1240px; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
h3 { font-size: 1rem; margin: .2rem 0; } p { margin: .3rem 0 .8rem; color: var(--soft);
  max-width: 75ch; }
.settings { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; color: var(--soft);
  font-size: .85rem; } .settings b { color: var(--fg); font-weight: 600; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; padding: .7rem; background: var(--panel); border: 1px solid var(--rule);
  border-radius: 8px; max-width: 100%; overflow-x: auto; }
.chart { flex: 1 1 480px; max-width: 588px; } .chart svg { width: 100%; height: auto; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .5rem 0 .8rem;
  font-size: .9rem; } .legend span { display: inline-flex; align-items: center; gap: .35rem; }
.scale { display: inline-flex; align-items: center; gap: .5rem; font-size: .85rem;
  margin-bottom: .6rem; } .scale i { width: 160px; height: 12px; border-radius: 3px; }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 600; }
.layers { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  margin-bottom: 1rem; } caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; } th:first-child, td:first-child, td.text { text-align: left; }
th { color: var(--soft); font-weight: 600; } td.text { color: var(--soft); font-size: .8rem; }
text { font: 12px system-ui, sans-serif; fill: var(--fg); } .tick { font-size: 11px;
  fill: var(--soft); } .label { fill: var(--fg); } .mid { text-anchor: middle; }
.end { text-anchor: end; } .value { font-size: 11px; }
line.grid { stroke: var(--grid); stroke-width: 1; } .axis { stroke: var(--soft); }
.break { stroke: var(--soft); stroke-dasharray: 1 4; } .dense { stroke: var(--fg);
  stroke-width: 1.4; stroke-dasharray: 7 4; } .line { fill: none; stroke: var(--s);
  stroke-width: 2; stroke-linejoin: round; } .mark { fill: var(--panel); stroke: var(--s);
  stroke-width: 2; } .mark:hover { fill: var(--s); } .line.random, .line.oracle {
  stroke-dasharray: 3 4; } .none { fill: none; stroke: var(--rule); } .field { fill: var(--bg);
  stroke: var(--rule); } .chosen { fill: var(--c0); shape-rendering: crispEdges; }
.s0 { --s: var(--c0); } .s1 { --s: var(--c1); } .s2 { --s: var(--c2); } .s3 { --s: var(--c3); }
.s4 { --s: var(--c4); } .s5 { --s: var(--c5); } .s6 { --s: var(--c6); } .s7 { --s: var(--c7); }
.random { --s: var(--random); } .streaming { --s: var(--streaming); }
.oracle { --s: var(--oracle); }
)css";

}  // namespace esa
