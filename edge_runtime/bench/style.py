"""How a page looks: one style sheet, for a wide screen and a phone, light and dark, and paper."""

CSS = """
:root{--bg:#fbfbfa;--card:#fff;--ink:#1b1f24;--soft:#59636e;--line:#e3e5e8;--grid:#eceef0;--accent:#1f5fd0;--good:#1a7f4b;
--bad:#c0262d;--warn:#8a5a00;--warnbg:#fff6e0;--badbg:#fdecec;--code:#f1f3f5;
--c0:#2563eb;--c1:#d9730d;--c2:#0d8a7c;--c3:#7c3aed;--c4:#c0267e;--c5:#5f7a12;--c6:#0e86b4;--c7:#8b5e3c}
@media (prefers-color-scheme:dark){:root{--bg:#111418;--card:#181c22;--ink:#e8ebee;--soft:#9aa5b1;--line:#2b323b;
--grid:#242b33;--accent:#7db0ff;--good:#4fcf8e;--bad:#ff8087;--warn:#f0c060;--warnbg:#2b2413;--badbg:#331a1d;--code:#0c0f12;
--c0:#6ea4ff;--c1:#ff9f4a;--c2:#3ed0bd;--c3:#b392ff;--c4:#ff7ac0;--c5:#a9c94a;--c6:#58c4ee;--c7:#cfa17c}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
"Liberation Sans",Arial,sans-serif}
main{max-width:1000px;margin:0 auto;padding:44px 28px 64px}
h1{font-size:15px;font-weight:600;margin:0 0 10px;color:var(--soft)}
.lead{font-size:30px;line-height:1.25;font-weight:650;letter-spacing:-.015em;margin:0 0 26px;text-wrap:balance}
h2{font-size:22px;letter-spacing:-.01em;margin:0 0 6px;line-height:1.3}
h3{font-size:15px;font-weight:650;margin:0 0 10px}
p{margin:0 0 12px;max-width:74ch}
section>p{color:var(--soft)}
section{padding:34px 0 6px;border-top:1px solid var(--line);margin-top:34px}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;font-size:14px;margin-top:22px}
nav a{color:var(--accent);text-decoration:none}nav a:hover{text-decoration:underline}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:14px}
.card{background:var(--card);border:1px solid var(--line);border-top-width:3px;border-radius:10px;padding:12px 16px 14px}
.card.good,.card.best{border-top-color:var(--good)}.card.bad{border-top-color:var(--bad)}
.card .name{font-size:14px;font-weight:600;color:var(--soft);overflow-wrap:anywhere}
.card .big{font-size:28px;font-weight:650;letter-spacing:-.02em;line-height:1.25;font-variant-numeric:tabular-nums}
.card .what{font-size:14px;color:var(--soft);line-height:1.4}
figure,.scroll,pre,.notes{margin:20px 0 0}
figure{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px 14px;break-inside:avoid}
figcaption,.caption{font-size:13.5px;line-height:1.5;color:var(--soft);margin:12px 0 0;max-width:84ch}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 20px}.pair figure{min-width:0}
svg{display:block;width:100%;overflow:visible}
svg text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.grid{stroke:var(--grid);stroke-width:1}.base{stroke:var(--soft);stroke-width:1;opacity:.6}
.bar{fill:var(--c)}.ci{fill:var(--ink);opacity:.28}.whisker{stroke:var(--ink);stroke-width:1.5;opacity:.75}
.more{fill:var(--ink);opacity:.75}
.line{fill:none;stroke:var(--c);stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.dot{fill:var(--c);stroke:var(--card);stroke-width:1}.miss{stroke:var(--bad);stroke-width:2.2;fill:none}
.dot.beaten{fill:var(--card);stroke:var(--c);stroke-width:2}.dot.any{--c:var(--soft)}
.front{fill:none;stroke:var(--ink);stroke-width:1.5;opacity:.6;vector-effect:non-scaling-stroke}
svg text.name{fill:var(--c);font-size:12.5px;font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
.forest .grid{stroke-dasharray:none}.one{stroke:var(--ink);stroke-width:1.5;opacity:.6}
.span{stroke:var(--m);stroke-width:3}g.good,g.bad,g.muted{fill:var(--m)}
g.good{--m:var(--good)}g.bad{--m:var(--bad)}g.muted{--m:var(--soft)}
.budget{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 4;opacity:.7}
.event{stroke:var(--bad);stroke-width:1.5}svg text.event-name{fill:var(--bad);stroke:none;font-weight:600}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}.s6{--c:var(--c6)}
.s7{--c:var(--c7)}
.legend .part0,.legend .part1,.legend .part2{fill:var(--soft)}
.part0{opacity:.38}.part1{opacity:.68}.part2{opacity:1}
.rows{display:grid;grid-template-columns:minmax(90px,max-content) 1fr minmax(64px,max-content);column-gap:14px;
align-items:center;grid-auto-flow:row dense}
.rows .label{grid-column:1}.rows .track{grid-column:2}.rows .value{grid-column:3}
.rows .label{font-size:14.5px;line-height:1.25;overflow-wrap:anywhere;max-width:230px}
.rows .label small,.rows .value small{display:block;color:var(--soft);font-size:12.5px;font-weight:400}
.rows .value{font-size:14.5px;font-weight:650;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;
line-height:1.25}
.plot{padding:6px 14px 0 46px}.plot.wide{padding-left:58px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13.5px;margin:10px 0 0;color:var(--soft)}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend svg{width:26px;height:12px;flex:none}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:9px 11px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child td{border-bottom:0}
th{font-size:12.5px;font-weight:600;color:var(--soft);white-space:nowrap;vertical-align:bottom}
th.r,td.r{text-align:right;white-space:nowrap}
td:first-child{min-width:130px}
td small{display:block;font-weight:400;color:var(--soft);font-size:12px}
td.best{font-weight:700}td.good{color:var(--good)}td.bad{color:var(--bad);font-weight:600}td.muted{color:var(--soft);white-space:nowrap}
.notes{list-style:none;padding:12px 16px;border-radius:10px;font-size:14px;border:1px solid var(--line);break-inside:avoid}
.notes li+li{margin-top:5px}.notes li{overflow-wrap:anywhere}
.notes.doubt{background:var(--warnbg);border-color:transparent}.notes.failure{background:var(--badbg);border-color:transparent}
.notes.doubt li::before{content:"Doubt: ";font-weight:650;color:var(--warn)}
.notes.failure li::before{content:"Failed: ";font-weight:650;color:var(--bad)}
pre{background:var(--code);border:1px solid var(--line);border-radius:10px;padding:12px 16px;overflow-x:auto;
font:13.5px/1.5 ui-monospace,SFMono-Regular,Menlo,"Liberation Mono","DejaVu Sans Mono",monospace}
footer{margin-top:44px;padding-top:16px;border-top:1px solid var(--line);font-size:13px;color:var(--soft)}
@media (max-width:640px){main{padding:26px 16px 48px}.lead{font-size:23px}section{padding-top:26px;margin-top:26px}
figure{padding:14px 12px 12px}.pair{grid-template-columns:1fr}
.rows{grid-template-columns:1fr max-content}.rows .label{max-width:none;margin-top:8px}.rows .label small{display:inline;
margin-left:6px}.rows .track{grid-column:1/-1}.rows .value{grid-column:2;margin-top:8px}
.rows .value small{display:inline;margin-left:6px}.rows .blank{display:none}
.plot,.plot.wide{padding-left:44px;padding-right:6px}th,td{padding:8px 10px}.minor{display:none}}
@media print{:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--grid:#e6e6e6}
main{max-width:none;padding:0;zoom:.78}nav{display:none}.scroll{overflow:visible}th,td{padding:7px 8px}
section>p{break-after:avoid;break-inside:avoid}section{break-inside:auto}tr{break-inside:avoid}h2,h3{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
""".strip()
