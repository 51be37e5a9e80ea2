"""What crosses the wire as JSON: its types, and how values of the domain become them.

The OpenAPI document is made from these types, so what is said here is both promised and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, fields

from sayci import account, build, certificate, delivery, interfaces, person, project, step
from sayci.build import BuildState, Cause
from sayci.buildlog import key_of
from sayci.delivery import Verdict
from sayci.git import URL_LIMIT
from sayci.image import REFERENCE_LIMIT
from sayci.limits import LONGEST_TIME_LIMIT, MOST
from sayci.person import word_of_role
from sayci.project import VALUE_LIMIT, MirrorState, Scope, Visibility
from sayci.report import StatusState
from sayci.sign_in import LONGEST_DAYS
from sayci.sign_in import NAME_LIMIT as TOKEN_NAME_LIMIT
from sayci.sign_in import SECRET_LIMIT as CODE_LIMIT
from sayci.step import Result, StepState

Item = TypeVar("Item")

#: How much of a delivery's body is shown, in bytes.
BODY_SHOWN = 256 * 1024

AccessWord = Literal["read", "build", "admin"]
ReachWord = Literal["none", "read", "build", "admin"]
RoleWord = Literal["member", "viewer", "maintainer", "admin"]
ProjectRoleWord = Literal["viewer", "maintainer"]
PersonName = Annotated[str, Meta(pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=40)]
Time = Annotated[datetime, Meta(tz=True)]
ProjectName = Annotated[str, Meta(pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=64)]
Branch = Annotated[str, Meta(min_length=1, max_length=239)]
Target = Annotated[str, Meta(pattern="^[A-Za-z0-9_][A-Za-z0-9_./+-]*$", max_length=100)]
Seconds = Annotated[float, Meta(ge=1, le=LONGEST_TIME_LIMIT)]
SecondsOrNone = Annotated[float, Meta(ge=0, le=LONGEST_TIME_LIMIT)]
Amount = Annotated[int, Meta(ge=0, le=MOST)]
Address = Annotated[str, Meta(min_length=1, max_length=URL_LIMIT, examples=["https://git.example/team/web-shop.git"])]
TokenName = Annotated[str, Meta(pattern="[^ ]", max_length=TOKEN_NAME_LIMIT)]
Credential = Annotated[str, Meta(pattern="^[!-~]+$", max_length=1000)]
Commit = Annotated[str, Meta(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$", max_length=64)]
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]


# ------------------------------------------------------------------------------------------------ answers


class Listing(Struct, Generic[Item]):
    """A part of a list; `next` is the cursor of the part after it, null at the end."""

    items: Sequence[Item]
    next: str | None


class Granted(Struct):
    """What somebody may do in a project, whatever the access elsewhere."""

    project: str
    access: AccessWord


class Token(Struct):
    """A program's credential as it is listed, without the secret.

    `person` is whose it is and as whom it acts, with no more than both may do; null for one of the server.
    """

    id: int
    name: str
    access: AccessWord
    person: str | None
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class Held(Struct):
    """The token that a request was made with."""

    id: int
    name: str
    access: AccessWord
    expires_at: Time | None


class Me(Struct):
    """Who the credential belongs to, what it is good for, and which version of sayci answers.

    `is_person`: it acts as somebody with an account.  `projects` are those in which more is granted; `token` is the
    credential itself, null for who has signed in on the pages.
    """

    name: str
    access: ReachWord
    is_person: bool
    projects: Sequence[Granted]
    token: Held | None
    version: str


class Isolation(Struct):
    """Whether anything keeps builds from the server and from each other; `words` say what does, or why nothing does."""

    holds: bool
    words: str


class Certificate(Struct):
    """The certificate that is served for a name, and how it goes with the next one.

    `issuer` is "", and its times are null, while nobody has issued one and a self-signed one is served.  `renew_at` is when
    the next try is due.  `error` is why the last try failed, "" when it did not; `tries` is how many have failed in a row.
    """

    name: str
    issuer: str
    not_before: Time | None
    not_after: Time | None
    renew_at: Time | None
    error: str
    tries: int


class ServerStatus(Struct):
    """How the server is.

    `certificates` is empty where they are not its business; `no_space` says why builds wait for the disk, "" if they do not.
    """

    version: str
    isolation: Isolation
    certificates: Sequence[Certificate]
    no_space: str = ""


class IssuedToken(Token):
    """A new credential; `token` is its secret, which is not shown again."""

    token: str


class SignedIn(Struct):
    """What a one-time code was exchanged for; `token` is not shown again."""

    token: str
    id: int
    name: str
    access: AccessWord


class Person(Struct):
    """Somebody with an account; `has_password` is false until the invitation was accepted."""

    name: str
    role: RoleWord
    has_password: bool
    created_at: Time


class Member(Struct):
    """Somebody with a role in a project."""

    name: str
    role: ProjectRoleWord


class InvitedPerson(Person):
    """A person with the address of an invitation, by which a password is set once, within a week; it is not shown again."""

    invitation: str


class Project(Struct):
    """A registered project.  `page` is its address for people.

    The limits are for each step, in seconds, bytes and numbers; 0 is what the server allows, of `silence_limit` (the time
    without output) it is no limit.
    """

    name: str
    url: str
    default_branch: str
    deploy_branch: str | None
    test_target: str
    deploy_target: str
    time_limit: float
    silence_limit: float
    output_limit: int
    ends_at_output_limit: bool
    process_limit: int
    memory_limit: int
    workspace_limit: int
    open_files_limit: int
    forge_api: str
    image: str
    visibility: Visibility
    mirror: MirrorState
    mirror_error: str
    has_access_token: bool
    webhook_url: str
    created_at: Time
    page: str


class RegisteredProject(Project):
    """A project that has just been registered; `webhook_secret` is not shown again."""

    webhook_secret: str


class Webhook(Struct):
    """What the forge has to be told; `webhook_secret` is not shown again, and the one before it is worth nothing now."""

    webhook_url: str
    webhook_secret: str


class Variable(Struct):
    """One line of a project's environment; the value of a secret one is null: it is never shown."""

    name: str
    value: str | None
    secret: bool
    scope: Scope


class Step(Struct):
    """One command of a build.  `duration` is in seconds of a monotonic clock, `log_size` in bytes."""

    name: str
    state: StepState
    result: Result | None
    reason: str
    exit_code: int | None
    started_at: Time | None
    finished_at: Time | None
    duration: float | None
    log_size: int


class Build(Struct):
    """One commit taken through its steps.

    `waiting` says why a queued one has not started; `source` is the build that it runs again or whose commit it deploys;
    `attempt` grows when an interrupted build starts anew.  `message` and `author` are whatever the commit says.
    """

    project: str
    number: int
    cause: Cause
    ref: str
    branch: str | None
    commit: str
    message: str
    author: str
    state: BuildState
    result: Result | None
    reason: str
    waiting: str
    source: int | None
    asked_by: str
    attempt: int
    delivery: int | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    page: str
    steps: Sequence[Step]


class Standing(Struct):
    """How a project stands: the `result` of the newest build of its default branch that says so, null where there is none.

    `words` say it in a few words, with what is done now; `is_building`: a build of it waits or runs.
    """

    result: Result | None
    words: str
    is_building: bool


class ProjectState(Struct):
    """A project with how it stands and its newest build."""

    project: Project
    standing: Standing
    newest: Build | None


class ProjectPage(ProjectState):
    """The same with its builds, the newest first; `next` is what `before` is for those after them."""

    builds: Sequence[Build]
    next: str | None


class Deploying(Struct):
    """What is `live` of a project; `newest` is its newest build with a deploy in it.

    `asked` are those of which nobody knows whether they arrived; `next` is what could be deployed: green, and newer.
    """

    project: str
    page: str
    live: Build | None
    newest: Build | None
    next: Build | None
    asked: Sequence[Build]


class Delivery(Struct):
    """A webhook as it came, and what became of it.  `build` is the build that it made; `size` is the body's, in bytes."""

    id: int
    forge_id: str
    event: str
    received_at: Time
    verdict: Verdict
    explanation: str
    build: int | None
    size: int


class ProjectDelivery(Delivery):
    """A delivery with the project that it was for."""

    project: str


class Header(Struct):
    """One header of a delivery."""

    name: str
    value: str


class WholeDelivery(Delivery):
    """A delivery with its headers and its body as text; of a body with more than 256 KiB the beginning (`cut`)."""

    headers: Sequence[Header]
    body: str
    cut: bool


class Status(Struct):
    """What is said of a commit under one name; `told` says that the forge has it as it is now."""

    context: str
    state: StatusState
    description: str
    told: bool
    attempts: int
    error: str
    retry_at: Time | None


# ------------------------------------------------------------------------------------------------ requests


class SignIn(Struct, forbid_unknown_fields=True):
    """A one-time code, and the name that the new token gets."""

    code: Annotated[str, Meta(min_length=1, max_length=CODE_LIMIT)]
    name: TokenName


class NewToken(Struct, forbid_unknown_fields=True):
    """A credential to be made; without `days` it lasts until it is removed."""

    name: TokenName
    access: AccessWord
    days: Annotated[int, Meta(ge=1, le=LONGEST_DAYS)] | None = None


class NewPerson(Struct, forbid_unknown_fields=True):
    """Somebody to be invited."""

    name: PersonName
    role: RoleWord = "viewer"


class NewMember(Struct, forbid_unknown_fields=True):
    """The role that somebody is to have in a project."""

    role: ProjectRoleWord


class NewRole(Struct, forbid_unknown_fields=True):
    """The role that somebody is to have."""

    role: RoleWord


class ProjectChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Settings to be changed; those that are absent stay as they are.

    `deploy_branch` null: no deploys.  `access_token` null: none any more; it is never shown.  A limit of 0 is what the
    server allows.
    """

    name: ProjectName | UnsetType = UNSET
    url: Address | UnsetType = UNSET
    default_branch: Branch | UnsetType = UNSET
    deploy_branch: Branch | UnsetType | None = UNSET
    test_target: Target | UnsetType = UNSET
    deploy_target: Target | UnsetType = UNSET
    time_limit: Seconds | UnsetType = UNSET
    silence_limit: SecondsOrNone | UnsetType = UNSET
    output_limit: Amount | UnsetType = UNSET
    ends_at_output_limit: bool | UnsetType = UNSET
    process_limit: Amount | UnsetType = UNSET
    memory_limit: Amount | UnsetType = UNSET
    workspace_limit: Amount | UnsetType = UNSET
    open_files_limit: Amount | UnsetType = UNSET
    forge_api: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    image: Annotated[str, Meta(max_length=REFERENCE_LIMIT)] | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    access_token: Credential | UnsetType | None = UNSET


class NewProject(ProjectChange, kw_only=True, forbid_unknown_fields=True):
    """A project to be registered."""

    name: ProjectName
    url: Address


class NewValue(Struct, forbid_unknown_fields=True):
    """A variable's value.  Where `secret` or `scope` is absent it stays as it is; a new variable is plain, for both steps."""

    value: Annotated[str, Meta(max_length=VALUE_LIMIT)]
    secret: bool | UnsetType = UNSET
    scope: Scope | UnsetType = UNSET


class NewBuild(Struct, forbid_unknown_fields=True):
    """A build to be made of a branch's head; by default of the default branch."""

    branch: Branch | None = None


class NewDeploy(Struct, forbid_unknown_fields=True):
    """What is to be deployed: a commit whose tests succeeded, or a build of it; exactly one of the two."""

    commit: Commit | UnsetType = UNSET
    build: Number | UnsetType = UNSET


OneDeploy = Annotated[NewDeploy, Meta(extra_json_schema={"minProperties": 1, "maxProperties": 1})]


def given(changes: Struct) -> dict[str, Any]:
    """The fields that a request has, null ones too."""
    found = {field.name: getattr(changes, field.name) for field in fields(changes)}
    return {name: value for name, value in found.items() if value is not UNSET}


# ------------------------------------------------------------------------------------------------ domain -> wire


@dataclass(frozen=True)
class Links:
    """Addresses as the world sees them; never made from what a request says of itself.

    `base` answers the server's public address, without a slash at its end: it may be known only once the server listens.
    """

    base: Callable[[], str]

    def project(self, name: str) -> str:
        """The project's page."""
        return f"{self.base()}/{quote(name)}"

    def build(self, name: str, number: int) -> str:
        """The build's page."""
        return f"{self.project(name)}/{number}"

    def invitation(self, code: str) -> str:
        """Where somebody who was invited sets a password."""
        return f"{self.base()}/sign-in/invitation?code={quote(code)}"

    def webhook(self, name: str) -> str:
        """Where the forge delivers."""
        return f"{self.base()}/hooks/{quote(name)}"


def time_of(seconds: float) -> datetime:
    """Seconds since the epoch as RFC 3339 has them: UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def time_if(seconds: float | None) -> datetime | None:
    """The same for a moment that may not have come."""
    return None if seconds is None else time_of(seconds)


def word_of(access: account.Access) -> AccessWord:
    """The access as the word that it is known by."""
    words: dict[account.Access, AccessWord] = {
        account.Access.READ: "read",
        account.Access.BUILD: "build",
        account.Access.ADMIN: "admin",
    }
    return words[access]


def reach_of(access: account.Access) -> ReachWord:
    """The same of who may have none."""
    return "none" if access is account.Access.NONE else word_of(access)


def of_token(token: account.Token) -> Token:
    """A token as it is listed."""
    return Token(
        id=token.id,
        name=token.name,
        access=word_of(token.access),
        person=token.person,
        created_at=time_of(token.created_at),
        expires_at=time_if(token.expires_at),
        last_used_at=time_if(token.last_used_at),
    )


def of_held(token: account.Token) -> Held:
    """A token as its holder is told of it."""
    return Held(token.id, token.name, word_of(token.access), time_if(token.expires_at))


def of_issued(token: account.Token, secret: str) -> IssuedToken:
    """A token with its secret, at the one time when it is told."""
    return IssuedToken(**asdict(of_token(token)), token=secret)


def of_person(person: person.Person) -> Person:
    """Somebody as the list has it."""
    return Person(
        name=person.name,
        role=cast("RoleWord", word_of_role(person.role)),
        has_password=person.has_password,
        created_at=time_of(person.created_at),
    )


def of_member(member: person.Member) -> Member:
    """A member as the list has it."""
    return Member(member.name, cast("ProjectRoleWord", word_of_role(member.role)))


def of_invited(person: person.Person, invitation: str) -> InvitedPerson:
    """Somebody with the address of an invitation, at the one time when it is told."""
    return InvitedPerson(**asdict(of_person(person)), invitation=invitation)


def of_project(project: project.Project, links: Links) -> Project:
    """A project with its addresses."""
    settings = project.settings
    return Project(
        name=settings.name,
        url=settings.url,
        default_branch=settings.default_branch,
        deploy_branch=settings.deploy_branch,
        test_target=settings.test_target,
        deploy_target=settings.deploy_target,
        time_limit=settings.time_limit,
        silence_limit=settings.silence_limit,
        output_limit=settings.output_limit,
        ends_at_output_limit=settings.ends_at_output_limit,
        process_limit=settings.process_limit,
        memory_limit=settings.memory_limit,
        workspace_limit=settings.workspace_limit,
        open_files_limit=settings.open_files_limit,
        forge_api=settings.forge_api,
        image=settings.image,
        visibility=settings.visibility,
        mirror=project.mirror,
        mirror_error=project.mirror_error,
        has_access_token=project.has_access_token,
        webhook_url=links.webhook(project.name),
        created_at=time_of(project.created_at),
        page=links.project(project.name),
    )


def of_registered(project: project.Project, links: Links, webhook_secret: str) -> RegisteredProject:
    """A project with its webhook secret, at the one time when it is told."""
    return RegisteredProject(**asdict(of_project(project, links)), webhook_secret=webhook_secret)


def of_variable(variable: project.Variable) -> Variable:
    """A variable as it is listed: a secret never has its value."""
    value = None if variable.secret else variable.value
    return Variable(name=variable.name, value=value, secret=variable.secret, scope=variable.scope)


def of_step(build: build.Build, step: step.Step, size_of: Callable[[str], int]) -> Step:
    """A step with the size of its log; `size_of` answers it for a key."""
    return Step(
        name=step.name,
        state=step.state,
        result=step.result,
        reason=step.reason,
        exit_code=step.exit_code,
        started_at=time_if(step.started_at),
        finished_at=time_if(step.finished_at),
        duration=step.duration,
        log_size=size_of(key_of(build, step.name)),
    )


def of_build(build: build.Build, links: Links, size_of: Callable[[str], int], waiting: str) -> Build:
    """A build with its steps; `waiting` says why it has not started."""
    return Build(
        project=build.project,
        number=build.number,
        cause=build.cause,
        ref=build.ref,
        branch=build.branch,
        commit=build.commit,
        message=build.message,
        author=build.author,
        state=build.state,
        result=build.result,
        reason=build.reason,
        waiting=waiting,
        source=build.source,
        asked_by=build.asked_by,
        attempt=build.attempt,
        delivery=build.delivery_id,
        created_at=time_of(build.created_at),
        started_at=time_if(build.started_at),
        finished_at=time_if(build.finished_at),
        page=links.build(build.project, build.number),
        steps=[of_step(build, step, size_of) for step in build.steps],
    )


def _delivery_fields(delivery: delivery.Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "forge_id": delivery.forge_id,
        "event": delivery.event,
        "received_at": time_of(delivery.received_at),
        "verdict": delivery.verdict,
        "explanation": delivery.explanation,
        "build": delivery.build_number,
        "size": delivery.size,
    }


def of_delivery(delivery: delivery.Delivery) -> Delivery:
    """A delivery as it is listed."""
    return Delivery(**_delivery_fields(delivery))


def of_arrival(project: str, delivery: delivery.Delivery) -> ProjectDelivery:
    """A delivery as it is listed among those of other projects."""
    return ProjectDelivery(**_delivery_fields(delivery), project=project)


def of_stored(delivery: delivery.Delivery, stored: interfaces.StoredBody) -> WholeDelivery:
    """A delivery with what it said."""
    return WholeDelivery(
        **_delivery_fields(delivery),
        headers=[Header(name, value) for name, value in stored.headers],
        body=stored.body[:BODY_SHOWN].decode("utf-8", "replace"),
        cut=len(stored.body) > BODY_SHOWN,
    )


def of_status(status: interfaces.ToldStatus) -> Status:
    """A commit status and how far its way to the forge is."""
    return Status(
        context=status.context,
        state=StatusState(status.state),
        description=status.description,
        told=status.told,
        attempts=status.attempts,
        error=status.error,
        retry_at=time_if(status.retry_at),
    )


def of_isolation(isolation: interfaces.Isolation) -> Isolation:
    """What keeps builds from the server."""
    return Isolation(isolation.holds, isolation.words)


def of_certificate(certificate: certificate.Certificate) -> Certificate:
    """A certificate as it is listed; one that nobody has issued has no times."""
    is_issued = bool(certificate.issuer)
    return Certificate(
        name=certificate.name,
        issuer=certificate.issuer,
        not_before=time_if(certificate.not_before if is_issued else None),
        not_after=time_if(certificate.not_after if is_issued else None),
        renew_at=time_if(certificate.renew_at),
        error=certificate.error,
        tries=certificate.tries,
    )


def listing(items: Iterable[Item], cursor: str | None = None) -> Listing[Item]:
    """A part of a list."""
    return Listing(list(items), cursor)
