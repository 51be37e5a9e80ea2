"""pages_settings.py: registering projects and configuring them."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import pytest
import pytest_twisted

from sayci.delivery import Verdict
from sayci.errors import RepositoryRefused, RepositoryUnreachable, WrongSignature
from sayci.limits import Limits
from sayci.project import Scope, Variable
from tests.factories import NOW

pytest_plugins = ["tests.web.page_fixtures"]

URL = "https://git.example/team/janet.git"
ADDRESS = "/web-shop/settings"


def advice(seen, field):
    """What the page says beside a field."""
    document = seen.document
    said = {given.get("id") for _, given in document.elements}
    names = [given.get("aria-describedby") for _, given in document.elements if given.get("name") == field]
    assert names
    assert names[-1] in said
    invalid = [given for _, given in document.elements if given.get("name") == field and "aria-invalid" in given]
    return bool(invalid)


# -- registering


@pytest_twisted.ensureDeferred
async def test_a_project_is_registered_and_its_secret_shown_once(house):
    browser = await house.signed_in()
    seen = await browser.submit("/new", "/new", name="janet", url=URL, access_token="forge-token-1")
    assert seen.code == 200
    assert seen.heading == "janet is added. Now tell the forge."
    _, secret = await house.store.webhook_secret("janet")
    shown = seen.document.attributes("value")
    assert secret in shown
    assert f"{house.served.url('')}/hooks/janet" in shown
    assert "forge-token-1" not in seen.text
    text = seen.document.text("main")
    for words in ("Settings → Webhooks", "application/json", "Just the push event", "/api/v1/projects"):
        assert words in text
    for path in ("/", "/janet", "/janet/settings", "/janet/deliveries"):
        assert secret not in (await browser.get(path)).text
    project = await house.store.project("janet")
    assert project.settings.url == URL
    assert await house.store.access_token(project.id) == "forge-token-1"
    assert house.sources.transcript[0] == ("heads", URL, "forge-token-1")


@pytest_twisted.ensureDeferred
async def test_every_field_of_a_new_project_counts(house):
    house.sources.branches = {"trunk": "1" * 40}
    await (await house.signed_in()).submit(
        "/new",
        "/new",
        name="janet",
        url=f" {URL} ",
        default_branch="trunk",
        deploy_branch="release/1",
        test_target="check",
        deploy_target="ship",
        time_limit="1,5",
        forge_api="https://github.example/api/v3/",
        image=" python:3.13-slim ",
    )
    settings = (await house.store.project("janet")).settings
    assert (settings.default_branch, settings.deploy_branch) == ("trunk", "release/1")
    assert (settings.test_target, settings.deploy_target, settings.time_limit) == ("check", "ship", 90.0)
    assert (settings.forge_api, settings.image) == ("https://github.example/api/v3", "python:3.13-slim")


@pytest_twisted.ensureDeferred
async def test_empty_fields_are_the_usual_values(house):
    empty = dict.fromkeys(("default_branch", "deploy_branch", "test_target", "deploy_target", "time_limit"), "")
    await (await house.signed_in()).submit("/new", "/new", name="janet", url=URL, **empty)
    settings = (await house.store.project("janet")).settings
    assert (settings.default_branch, settings.deploy_branch, settings.time_limit) == ("main", None, 3600.0)
    assert (settings.test_target, settings.deploy_target) == ("test", "deploy")


@pytest.mark.parametrize(
    ("field", "value"),
    (
        ("name", ""),
        ("name", "a b"),
        ("name", "../x"),
        ("name", "new"),
        ("name", "x" * 65),
        ("name", '"><script>alert(1)</script>'),
        ("url", ""),
        ("url", "ext::sh -c id"),
        ("url", "file:///etc"),
        ("url", "--upload-pack=touch /tmp/p"),
        ("default_branch", "a..b"),
        ("default_branch", "-x"),
        ("deploy_branch", "refs/heads/@{"),
        ("test_target", "--eval=x"),
        ("deploy_target", "a b"),
        ("time_limit", "soon"),
        ("time_limit", "0"),
        ("time_limit", "nan"),
        ("time_limit", "1e99"),
        ("access_token", "two words"),
        ("access_token", "x" * 2000),
        ("forge_api", "ftp://forge.example"),
        ("forge_api", "https://user:pass@forge.example"),
        ("image", "--privileged"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_what_is_wrong_with_a_field_is_said_beside_it_and_nothing_is_lost(house, field, value):
    browser = await house.signed_in()
    fields = {"name": "janet", "url": URL, "test_target": "check", field: value}
    seen = await browser.submit("/new", "/new", **fields)
    assert (seen.code, seen.heading) == (422, "The project was not added yet.")
    assert advice(seen, field)
    kept = seen.document.form("/new").fields
    for name, given in fields.items():
        assert kept[name] == ("" if name == "access_token" else given)
    assert "<script>" not in seen.text
    assert (await house.store.projects()).items == []


@pytest_twisted.ensureDeferred
async def test_several_fields_are_told_at_once(house):
    seen = await (await house.signed_in()).submit("/new", "/new", name="a b", url=URL, test_target="-x", time_limit="x")
    assert len(seen.document.attributes("aria-invalid")) == 3
    assert house.sources.transcript == []


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_taken_in_any_case_is_told(house):
    await house.project("Janet")
    seen = await (await house.signed_in()).submit("/new", "/new", name="janet", url=URL)
    assert seen.code == 422
    assert "There is a project janet already. Choose another name." in seen.document.text("form")
    assert advice(seen, "name")


@pytest.mark.parametrize(
    ("problem", "field"),
    (
        (RepositoryRefused("the repository is not there, or wants a token", "remote: <b>Not found</b>"), "url"),
        (RepositoryUnreachable("the repository did not answer", "30 s"), "url"),
        (RepositoryRefused("the repository has no such branch", "main", "it has trunk"), "default_branch"),
    ),
)
@pytest_twisted.ensureDeferred
async def test_what_the_repository_says_is_told_beside_its_field(house, problem, field):
    house.sources.problems.append(problem)
    seen = await (await house.signed_in()).submit("/new", "/new", name="janet", url=URL)
    assert seen.code == 422
    assert advice(seen, field)
    assert str(problem)[1:] in seen.document.text("form")
    assert (await house.store.projects()).items == []


# -- configuring


@pytest_twisted.ensureDeferred
async def test_settings_are_changed(house):
    house.sources.branches = {"trunk": "1" * 40}
    await house.project(time_limit=90.0, forge_api="https://forge.example/api")
    browser = await house.signed_in()
    form = (await browser.get(ADDRESS)).document.form(ADDRESS).fields
    assert (form["time_limit"], form["forge_api"], form["deploy_branch"]) == ("1.5", "https://forge.example/api", "")
    limits = {"memory_limit": "512", "process_limit": "100", "output_limit": "", "silence_limit": "2,5"}
    changed = {"default_branch": "trunk", "deploy_branch": "trunk", "time_limit": "30", "forge_api": "", **limits}
    seen = await browser.submit(ADDRESS, ADDRESS, **changed)
    assert (seen.code, seen.path) == (303, ADDRESS)
    settings = (await house.store.project("web-shop")).settings
    assert (settings.default_branch, settings.deploy_branch) == ("trunk", "trunk")
    assert (settings.time_limit, settings.forge_api) == (1800.0, "")
    assert settings.limits == Limits(1800.0, silence_limit=150.0, memory_limit=512 << 20, process_limit=100)
    form = (await browser.get(ADDRESS)).document.form(ADDRESS).fields
    assert {name: form[name] for name in limits} == {**limits, "silence_limit": "2.5"}


@pytest.mark.parametrize(
    ("field", "value"),
    (("memory_limit", "1"), ("process_limit", "many"), ("workspace_limit", "-1"), ("output_limit", "9" * 30)),
)
@pytest_twisted.ensureDeferred
async def test_a_limit_that_cannot_be_is_told_beside_it(house, field, value):
    project = await house.project()
    seen = await (await house.signed_in()).submit(ADDRESS, ADDRESS, **{field: value})
    assert (seen.code, seen.document.attributes("aria-invalid")) == (422, ["true"])
    assert (await house.store.project("web-shop")).settings == project.settings


@pytest_twisted.ensureDeferred
async def test_settings_that_cannot_be_are_told_and_nothing_is_changed(house):
    project = await house.project()
    browser = await house.signed_in()
    seen = await browser.submit(ADDRESS, ADDRESS, default_branch="a..b", deploy_target="ship")
    assert (seen.code, seen.heading) == (422, "Nothing was changed.")
    assert advice(seen, "default_branch")
    assert seen.document.form(ADDRESS).fields["deploy_target"] == "ship"
    seen = await browser.submit(ADDRESS, ADDRESS, url="ext::sh -c id")
    assert advice(seen, "url")
    assert (await house.store.project("web-shop")).settings == project.settings


@pytest_twisted.ensureDeferred
async def test_variables_are_set_listed_and_removed(house):
    project = await house.project()
    browser = await house.signed_in()
    environment = f"{ADDRESS}/environment"
    for fields in (
        {"name": "LEVEL", "value": " high ", "scope": "both", "kind": "plain"},
        {"name": "DEPLOY_KEY", "value": "line 1\r\nline 2\r\n", "scope": "deploy", "kind": "secret"},
    ):
        assert (await browser.submit(ADDRESS, environment, **fields)).path == f"{ADDRESS}#environment"
    assert list(await house.store.variables(project.id, revealed=True)) == [
        Variable("DEPLOY_KEY", "line 1\nline 2\n", Scope.DEPLOY, secret=True),
        Variable("LEVEL", " high ", Scope.BOTH),
    ]
    seen = await browser.get(ADDRESS)
    text = seen.document.text("table")
    assert "DEPLOY_KEY secret, set deploy" in text
    assert "LEVEL high test and deploy" in text
    assert "line 1" not in seen.text
    remove = f"{environment}/remove"
    form = seen.document.form(remove).fields
    assert form["name"] == "DEPLOY_KEY"
    assert (await browser.post(remove, form)).path == f"{ADDRESS}#environment"
    assert [variable.name for variable in await house.store.variables(project.id)] == ["LEVEL"]


@pytest.mark.parametrize(
    "fields",
    (
        {"name": "a-b"},
        {"name": ""},
        {"name": "PATH=x"},
        {"name": "SAYCI_URL"},
        {"name": "LD_PRELOAD"},
        {"value": "a\0b"},
        {"value": "x" * 40_000},
        {"scope": "nobody"},
        {"kind": "open"},
    ),
)
@pytest_twisted.ensureDeferred
async def test_a_variable_that_cannot_be_is_told_and_a_secret_is_not_repeated(house, fields):
    project = await house.project()
    given = {"name": "TOKEN", "value": "hunter2-hunter2", "scope": "both", "kind": "secret"} | fields
    seen = await (await house.signed_in()).submit(ADDRESS, f"{ADDRESS}/environment", **given)
    assert seen.code == 422
    assert "v-bad" in seen.document.attributes("id")
    assert "hunter2" not in seen.text or given["kind"] != "secret"
    assert not await house.store.variables(project.id)


@pytest_twisted.ensureDeferred
async def test_the_forge_s_token_is_set_and_removed_and_never_shown(house):
    project = await house.project()
    browser = await house.signed_in()
    address = f"{ADDRESS}/access-token"
    assert (await browser.submit(ADDRESS, address, access_token=" forge-token-1 ")).path == f"{ADDRESS}#access"
    assert await house.store.access_token(project.id) == "forge-token-1"
    seen = await browser.get(ADDRESS)
    assert "A token is set." in seen.document.text("main")
    assert "forge-token-1" not in seen.text
    seen = await browser.submit(ADDRESS, address, access_token="two words")
    assert advice(seen, "access_token")
    assert "two words" not in seen.text
    await browser.submit(ADDRESS, address, access_token="")
    assert await house.store.access_token(project.id) == ""


@pytest_twisted.ensureDeferred
async def test_a_new_webhook_secret_is_shown_once_and_the_old_one_is_worth_nothing(house):
    await house.project()
    browser = await house.signed_in()
    seen = await browser.submit(ADDRESS, f"{ADDRESS}/webhook-secret")
    assert seen.heading == "web-shop has a new webhook secret. The old one is worth nothing from now on."
    _, secret = await house.store.webhook_secret("web-shop")
    assert secret != "webhook secret"
    assert secret in seen.document.attributes("value")
    assert secret not in (await browser.get(ADDRESS)).text


@pytest_twisted.ensureDeferred
async def test_a_project_is_removed_once_its_name_is_written(house):
    await house.project()
    browser = await house.signed_in()
    seen = await browser.submit(ADDRESS, f"{ADDRESS}/remove", name="web-shopp")
    assert seen.code == 422
    assert "Write web-shop to confirm. Nothing was removed." in seen.document.text("main")
    assert (await browser.submit(ADDRESS, f"{ADDRESS}/remove", name="web-shop")).path == "/"
    assert (await browser.get("/web-shop")).code == 404


@pytest_twisted.ensureDeferred
async def test_a_project_with_an_open_build_is_not_removed(house):
    await house.running(await house.project())
    browser = await house.signed_in()
    seen = await browser.submit(ADDRESS, f"{ADDRESS}/remove", name="web-shop")
    assert seen.code == 409
    assert "cancel them first" in seen.document.text("main")


# -- the light


@pytest_twisted.ensureDeferred
async def test_the_first_form_takes_the_address_alone(house):
    browser = await house.signed_in()
    seen = await browser.submit("/", "/new", url="git@git.example:team/Boot-Shop.git")
    assert seen.heading == "Boot-Shop is added. Now tell the forge."
    assert (await house.store.project("boot-shop")).settings.default_branch == "main"


@pytest.mark.parametrize("url", ("https://git.example/team/..", "nonsense", ""))
@pytest_twisted.ensureDeferred
async def test_what_the_first_form_cannot_take_is_told_beside_the_fields(house, url):
    house.sources.branches = {"main": "1" * 40}
    seen = await (await house.signed_in()).submit("/", "/new", url=url)
    assert (seen.code, seen.heading) == (422, "The project was not added yet.")
    assert seen.document.form("/new").fields["url"] == url


@pytest_twisted.ensureDeferred
async def test_the_webhook_s_page_has_a_light_and_shows_no_secret(house):
    project = await house.project()
    browser = await house.signed_in()
    seen = await browser.get(f"{ADDRESS}/webhook")
    assert seen.heading == "Connect web-shop to its forge."
    assert "Waiting for the first ping" in seen.document.text("main")
    assert "webhook secret" not in seen.text.replace("/webhook-secret", "")
    body = next(given for tag, given in seen.document.elements if tag == "body")
    assert (body["data-changes"], body["data-look"]) == (f"{ADDRESS}/webhook", f"{ADDRESS}/webhook")
    await house.delivery(project, Verdict.IGNORED, event="ping", explanation="Hello received: all is right.")
    for path in (f"{ADDRESS}/webhook", ADDRESS):
        text = (await browser.get(path)).document.text("main")
        assert "Waiting for the first ping" not in text
        assert "The forge has said hello, and its signature is right." in text
    assert (await browser.get(ADDRESS)).heading == "web-shop is connected."


@pytest_twisted.ensureDeferred
async def test_settings_begin_with_what_is_missing_and_show_the_server_s_limits(house):
    project = await house.project()
    browser = await house.signed_in()
    seen = await browser.get(ADDRESS)
    assert seen.heading == "web-shop waits for its first ping."
    text = seen.document.text("main")
    for words in (
        "sayci has a copy of it.",
        "No token is set, so the forge is not told",
        "At most 3 GiB, which is what this server allows.",
        "At most 4,096, which is what this server allows.",
        "At most 2 minutes, which is what this server allows.",
    ):
        assert words in text
    assert "data-changes" in seen.text
    wrong = await browser.submit(ADDRESS, ADDRESS, default_branch="a..b")
    assert "data-changes" not in wrong.text
    house.refusals.add(project.id, NOW, WrongSignature("no"), "192.0.2.1")
    assert (await browser.get(ADDRESS)).heading == "web-shop refused what came last."
    await browser.submit(ADDRESS, f"{ADDRESS}/webhook-secret")
    assert (await browser.get(ADDRESS)).heading == "web-shop waits for its first ping."
