"""A review as one HTML file: no script, nothing loaded from elsewhere, readable in print."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from gpuledger_collector.report.charts import draw
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.review import review


def render(report: Report) -> str:
    """The page. Every name in it is escaped; charts are SVG in the page."""
    environment = Environment(
        loader=PackageLoader(__package__ or "", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = (resources.files(__package__) / "page" / "report.css").read_text("utf-8")
    return environment.get_template("report.html.j2").render(
        document=review(report),
        answers=report.answers,
        charts=draw(report),
        css=css,
        csp=_policy(css),
    )


def _policy(css: str) -> str:
    """Nothing is allowed but the styles of this page."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
