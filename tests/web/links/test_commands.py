"""What operators see of shared links and do with them: never what a link shows."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result
from flask import Flask

from tests.shared_runs import make_run
from tests.web.conftest import settings_in
from webapp.__main__ import main
from webapp.settings import Settings
from webapp.web.create_app import LINKS_EXTENSION, create_app
from webapp.web.links.store import LinkFacts, SharedLinks

SECRET = "what no operator need read"


@pytest.fixture(scope="module")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("links"))


@pytest.fixture(scope="module")
def own_app(own_settings: Settings) -> Flask:
    made = create_app(own_settings)
    run(made, "upgrade-database")
    return made


@pytest.fixture
def links(own_app: Flask) -> SharedLinks:
    return own_app.extensions[LINKS_EXTENSION]


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=list(arguments))


def make(links: SharedLinks, title: str = "Starter") -> LinkFacts:
    shared = make_run(prompt=SECRET, texts=((1, SECRET),), title=title)
    return links.create(shared, manage_key="k", lifetime_days=7, has_prompt_in_preview=True)


def test_links_are_listed_without_what_they_show(own_app: Flask, links: SharedLinks) -> None:
    made, gone = make(links), make(links)
    links.report(made.slug, reason="spam", details="It says so.")
    links.revoke(gone.slug, "k")

    active = json.loads(run(own_app, "list-links", "--json").stdout)
    everything = run(own_app, "list-links", "--all").stdout

    (listed,) = [link for link in active if link["slug"] == made.slug]
    expires_at = datetime.fromisoformat(listed.pop("expires_at"))
    assert timedelta(days=6) < expires_at - datetime.now(UTC) <= timedelta(days=7)
    assert datetime.fromisoformat(listed.pop("created_at")) <= datetime.now(UTC)
    assert listed == {"slug": made.slug, "model": "Starter", "reports": 1, "state": "active"}
    assert gone.slug not in {link["slug"] for link in active}
    lines = {line.split()[0]: re.split(" {2,}", line) for line in everything.splitlines()}
    assert lines["slug"] == ["slug", "model", "created", "expires", "reports", "state"]
    assert (lines[made.slug][4:], lines[gone.slug][4:]) == (["1", "active"], ["-", "revoked"])
    assert SECRET not in everything + run(own_app, "list-links", "--all", "--json").stdout


def test_reports_are_listed_and_what_readers_wrote_only_where_asked_for(own_app: Flask, links: SharedLinks) -> None:
    made = make(links, title="Reported")
    links.report(made.slug, reason="personal", details="my name\x1b[31m\nis in it")

    short, long = run(own_app, "list-reports").stdout, run(own_app, "list-reports", "--details").stdout
    (described,) = [
        link for link in json.loads(run(own_app, "list-reports", "--json").stdout) if link["slug"] == made.slug
    ]

    assert f"{made.slug}  Reported\n" in short and "  personal\n" in short
    assert "my name" not in short
    assert "  personal  my name [31m is in it\n" in long
    assert [report["reason"] for report in described["reports"]] == ["personal"]
    assert "details" not in described["reports"][0]
    assert SECRET not in short + long


@pytest.mark.parametrize(
    "form",
    [
        "{slug}",
        "https://jeton.example/s/{slug}",
        "http://127.0.0.1:8000/e/{slug}?lang=fr#x",
        "https://x.example/s/{slug}/og.png",
        "/s/{slug}",
    ],
)
def test_link_is_taken_down_by_its_slug_or_any_of_its_addresses(own_app: Flask, links: SharedLinks, form: str) -> None:
    made = make(links)

    result = run(own_app, "take-down", form.format(slug=made.slug))

    assert (result.exit_code, result.stdout) == (0, f"{made.slug} is taken down\n")
    assert [link.gone for link in links.all_of("k") if link.slug == made.slug] == ["taken down"]


@pytest.mark.parametrize("text", ["-none", "https://jeton.example/", "s/", "/s/", "\udcff"], ids=ascii)
def test_link_that_is_none_is_said_to_be_none(own_app: Flask, text: str) -> None:
    result = run(own_app, "take-down", text)

    assert (result.exit_code, result.stderr) == (1, "Error: There is no such shared link.\n")


def test_python_m_webapp_has_the_commands_too(
    own_settings: Settings, links: SharedLinks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(links)
    monkeypatch.setenv("JETON_DATA_DIR", str(own_settings.data_dir))
    monkeypatch.setenv("JETON_CACHE_DIR", str(own_settings.cache_dir))

    for arguments in (["list-links"], ["list-reports"], ["take-down", made.slug]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0

    assert f"{made.slug} is taken down" in capsys.readouterr().out
