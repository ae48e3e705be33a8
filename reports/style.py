"""The look of every page: one stylesheet, light and dark, from a phone to a laptop."""

from __future__ import annotations

LINE_STYLES = ("s0", "s1", "s2", "s3", "s4", "s5")  # colours that the colour-blind can tell apart

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--soft:#5a6472;--rule:#dde2e8;--head:#f4f6f8;
--warn:#fff6dd;--warn-edge:#d99a00;--good:#0b7a4b;--bad:#b3261e;--grey:#b9c0c8;--seen:#f3ecd9;
--c0:#0067b8;--c1:#d1500a;--c2:#00876a;--c3:#a8468f;--c4:#8a6d00;--c5:#3f9fd8}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--ink:#e6e9ed;--soft:#9aa5b1;--rule:#2d343c;
--head:#1d2228;--warn:#2b2410;--warn-edge:#d99a00;--good:#4cc38a;--bad:#ff8a80;--grey:#4a545f;
--seen:#272315;--c0:#5ab0f5;--c1:#ff9157;--c2:#35c9a5;--c3:#e08fcb;--c4:#e0bb3d;--c5:#9ad5ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:38px 0 8px}
p{margin:0 0 10px;max-width:76ch;overflow-wrap:anywhere}
a{color:var(--c0)}
.soft{color:var(--soft);font-size:.9rem}
.warn{background:var(--warn);border-left:4px solid var(--warn-edge);padding:10px 14px;margin:14px 0;
max-width:none}
.warn ul{margin:0;padding-left:1.1em}.warn li{overflow-wrap:anywhere}
.warn p{margin:0}.warn p+ul{margin-top:6px}
.verdict{font-size:1.08rem;border-left:4px solid var(--c0);padding:2px 0 2px 14px;margin:14px 0;
max-width:80ch}
.verdict span{display:block;font-size:.9rem;color:var(--soft)}
.box{overflow-x:auto;margin:0 0 12px;border:1px solid var(--rule);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:5px 14px;text-align:right;white-space:nowrap}
tr>:first-child{text-align:left;position:sticky;left:0;background:var(--bg);padding-right:18px}
thead th{background:var(--head);font-weight:600;border-bottom:1px solid var(--rule)}
thead th:first-child{background:var(--head)}
tbody th{font-weight:400}
tr.group>*{border-top:1px solid var(--rule)}
th.name{max-width:15em;overflow:hidden;text-overflow:ellipsis}
tr.sub>:first-child{padding-left:30px;color:var(--soft)}
tr.main>*{font-weight:600}
td.edge,th.edge{border-left:1px solid var(--rule)}
td.text{text-align:left;white-space:normal;min-width:14em;overflow-wrap:anywhere}
thead th.over{text-align:left}
.wide th,.wide td{padding:5px 9px}
.small table{font-size:.84rem}.small thead th{white-space:normal;min-width:5.5em}
.small th:first-child{min-width:9em}
figure{margin:22px 0 8px}
figcaption span{display:block;color:var(--soft);font-size:.88rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;padding:0;margin:6px 0 12px;
font-size:.88rem}
.legend li{overflow-wrap:anywhere}
.legend svg{width:20px;height:8px;margin-right:6px}.legend i{font-style:normal;color:var(--soft)}
.plot{position:relative;padding:0 0 24px 56px}
.plot>svg{display:block;width:100%;height:280px;overflow:hidden}
figure.low .plot>svg{height:190px}
.y{position:absolute;left:0;top:0;bottom:24px;width:50px}
.y span{position:absolute;right:0;transform:translateY(-50%);font-size:12.5px;color:var(--soft);
white-space:nowrap}
.x{position:absolute;left:56px;right:0;bottom:0;height:20px}
.x span{position:absolute;transform:translateX(-50%);font-size:12.5px;color:var(--soft);
white-space:nowrap}
path{fill:none;stroke-width:1.7;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.grid{stroke:var(--rule);stroke-width:1}.seen{fill:var(--seen)}
.facts{max-width:none}
.control{stroke:var(--grey);stroke-width:1}
.benchmark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}
.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}
.dashed{stroke-dasharray:6 4;stroke-width:1.3}.dotted{stroke-dasharray:2 3}
.wrap tbody th{white-space:normal;overflow-wrap:anywhere;min-width:8em}
.settings th,.settings td{vertical-align:top;text-align:left}
.settings tbody th{white-space:normal;min-width:9em;overflow-wrap:anywhere}
dl{columns:27em;column-gap:40px;font-size:.92rem;margin:0 0 12px}
dl div{display:grid;grid-template-columns:11em 1fr;gap:14px;break-inside:avoid;padding:2px 0}
dt{overflow-wrap:anywhere;color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;min-width:0}
pre{background:var(--head);border:1px solid var(--rule);border-radius:6px;padding:10px 12px;
font:13px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:620px){main{padding:18px 14px 40px}h1{font-size:1.4rem}
.plot>svg{height:220px}figure.low .plot>svg{height:160px}
.plot{padding-left:46px}.x{left:46px}.y{width:40px}.x .odd{display:none}
table{font-size:.82rem}th,td{padding:5px 7px}
dl div{grid-template-columns:9em 1fr;gap:10px}
tr>:first-child{padding-right:8px;max-width:11em;overflow:hidden;text-overflow:ellipsis}
tr.sub>:first-child{padding-left:18px}}
@media print{.warn,.verdict{break-inside:avoid}main{max-width:none}}
"""


def page(title: str, body: str) -> str:
    """A whole HTML page; `title` is escaped already, `body` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
