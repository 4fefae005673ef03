"""The report page's style: one sheet for light and dark, no fonts or files from elsewhere."""

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2129;--faint:#697180;--rule:#e4e6ea;--grid:#eceef1;
--pysfu:#0f766e;--ceiling:#8a93a3;--janus:#c2620c;--audio:#4f5bd5;--user:#0f766e;--system:#63b3a9;--rest:#c9ced6;
--good:#15803d;--good-bg:#e4f4e9;--bad:#b91c1c;--bad-bg:#fbe7e6;--open-bg:#eef0f3;--warn-bg:#fdf3dc;--warn:#7a5300}
@media(prefers-color-scheme:dark){:root{--bg:#14171c;--card:#1b1f26;--ink:#e6e9ee;--faint:#949dac;--rule:#2c323c;
--grid:#272d36;--pysfu:#2dd4bf;--ceiling:#8a93a3;--janus:#f59e4b;--audio:#8f9bff;--user:#2dd4bf;--system:#1c8176;
--rest:#4b5360;--good:#6ee7a0;--good-bg:#163524;--bad:#fca5a5;--bad-bg:#3d1f20;--open-bg:#2a303a;--warn-bg:#3a2f14;
--warn:#f3d58a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.02em}
h2{font-size:19px;margin:0 0 12px;letter-spacing:-.01em}h3{font-size:15px;margin:20px 0 8px}
h2 small{font-weight:400;font-size:14px;color:var(--faint);margin-left:8px}
header p{margin:0 0 6px;max-width:78ch}.faint{color:var(--faint);font-size:13px}
.warning{background:var(--warn-bg);color:var(--warn);padding:8px 12px;border-radius:8px;font-size:14px}
section{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:20px 22px;margin-top:20px}
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:0;padding:6px}
.tile{padding:14px 18px;display:flex;flex-direction:column;gap:2px}
.tile span,.tile small{color:var(--faint);font-size:13px}
.tile strong{font-size:27px;line-height:1.25;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
table{width:100%;border-collapse:collapse;font-size:14px}
th{text-align:left;font-weight:500;color:var(--faint);font-size:13px;padding:6px 10px;
border-bottom:1px solid var(--rule)}
td{padding:8px 10px;border-bottom:1px solid var(--grid);vertical-align:top}tr:last-child td{border-bottom:0}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.met,.missed,.open{display:inline-block;padding:1px 10px;border-radius:99px;font-size:13px;white-space:nowrap}
.met{background:var(--good-bg);color:var(--good)}.missed{background:var(--bad-bg);color:var(--bad)}
.open{background:var(--open-bg);color:var(--faint)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:24px}.single{max-width:620px}
figure{margin:0;min-width:0}figcaption{color:var(--faint);font-size:13px;margin-top:4px}
.legend{display:flex;flex-wrap:wrap;gap:6px 20px;font-size:13px;color:var(--faint);margin-bottom:10px}
.legend span{display:flex;align-items:center;gap:7px}.legend i{width:14px;height:4px;border-radius:2px}
.legend i[class^=p-]{height:10px;width:10px}
svg{width:100%;height:auto;display:block;font-family:inherit}
svg text{fill:var(--faint);font-size:12px;font-variant-numeric:tabular-nums}
svg .row,svg .value{fill:var(--ink);font-size:13px}svg .value{font-weight:600}
.grid{stroke:var(--grid)}.axis{stroke:var(--rule)}
.limit,.line.limit{stroke:var(--bad);stroke-dasharray:3 4;stroke-width:1;opacity:.7}
.note{stroke:var(--ink);stroke-dasharray:3 4;opacity:.5}
svg .note-label{fill:var(--ink);font-size:11px}svg .limit-label{fill:var(--bad);font-size:11px}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.line.dashed{stroke-width:1.5;stroke-dasharray:5 4;opacity:.75}
.mark{stroke:var(--card);stroke-width:1.5}
.line.s-pysfu{stroke:var(--pysfu)}.line.s-ceiling{stroke:var(--ceiling)}.line.s-janus{stroke:var(--janus)}
.line.s-audio{stroke:var(--audio)}
.mark.s-pysfu,.bar.s-pysfu{fill:var(--pysfu)}.mark.s-ceiling{fill:var(--ceiling)}.mark.s-janus{fill:var(--janus)}
.mark.s-audio{fill:var(--audio)}.p-user{fill:var(--user)}.p-system{fill:var(--system)}.p-rest{fill:var(--rest)}
i.s-pysfu{background:var(--pysfu)}i.s-ceiling{background:var(--ceiling)}i.s-janus{background:var(--janus)}
i.s-audio{background:var(--audio)}i.p-user{background:var(--user)}i.p-system{background:var(--system)}
i.limit{background:var(--bad)}i.p-rest{background:var(--rest)}
code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.92em}
footer{margin-top:24px;max-width:90ch}
@media(max-width:860px){.pair{grid-template-columns:1fr}.tiles{grid-template-columns:1fr 1fr}main{padding:24px 14px}}
@media(max-width:520px){.tiles{grid-template-columns:1fr}}
"""
