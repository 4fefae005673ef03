"""What the quality page adds to the common style."""

THEME = """
:root{--capacity:#b6bdc9;--estimate:#4f5bd5;--allocated:#c026a3;--sent:#0f766e;--queue:#c2620c;--layer:#8b5cf6;--partly-bg:#fdf3dc;
--partly:#7a5300}
@media(prefers-color-scheme:dark){:root{--capacity:#566072;--estimate:#8f9bff;--allocated:#f28bd8;--sent:#2dd4bf;--queue:#f59e4b;
--layer:#b79bff;--partly-bg:#3a2f14;--partly:#f3d58a}}
main{max-width:1280px}
section>p{margin:0 0 14px;max-width:88ch;color:var(--faint)}
h2{scroll-margin-top:16px}a{color:inherit;text-underline-offset:3px;text-decoration-color:var(--rule)}
td{padding:5px 10px}td small{color:var(--faint);font-size:11.5px;margin-right:10px}
td.goal{white-space:nowrap;color:var(--faint)}tr.begins td{border-top:1px solid var(--rule)}
td code{white-space:nowrap}
.partly,.plain{display:inline-block;padding:1px 10px;border-radius:99px;font-size:13px;white-space:nowrap}
.partly{background:var(--partly-bg);color:var(--partly)}.plain{padding:1px 0}
details{border-top:1px solid var(--rule);padding:4px 0}
details:first-of-type{margin-top:14px}
summary{cursor:pointer;padding:8px 2px;list-style-position:outside;margin-left:16px}summary code{margin-right:10px}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:10px 18px;margin:6px 0 16px}
.fact{display:flex;flex-direction:column;font-variant-numeric:tabular-nums}
.fact>span:first-child{color:var(--faint);font-size:12.5px}
.fact small{color:var(--faint);font-size:11.5px}
.triple{display:grid;grid-template-columns:repeat(3,1fr);gap:18px;margin-bottom:14px}
.line{stroke-width:1.8}
.line.s-capacity{stroke:var(--capacity);stroke-width:3}.line.s-estimate{stroke:var(--estimate)}
.line.s-allocated{stroke:var(--allocated);stroke-width:1.2}
.line.s-sent{stroke:var(--sent);stroke-width:1.3}.line.s-queue{stroke:var(--queue);stroke-width:1.4}
.line.s-layer{stroke:var(--layer)}
i.s-capacity{background:var(--capacity)}i.s-estimate{background:var(--estimate)}i.s-allocated{background:var(--allocated)}
i.s-sent{background:var(--sent)}
.legend strong{color:var(--ink);font-weight:600}
@media(max-width:980px){.triple{grid-template-columns:1fr}}
@media(max-width:760px){section{overflow-x:auto}}
"""
