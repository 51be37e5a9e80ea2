"""The seams, each a Protocol whose docstring is its contract.

Every implementation is held to the same tests (tests/contracts).  A method that says ``async`` never blocks the reactor;
whatever it raises beside what is named here is a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from sayci.account import Access, Actor, Origin, Session, Token
from sayci.build import Build, Cause, NewBuild
from sayci.certificate import Certificate
from sayci.delivery import Accepted, Delivery, Message, NewDelivery, Verdict
from sayci.deploying import Deploying
from sayci.identity import ForgeToken, Identity, Linked, Repository
from sayci.limits import NONE, Limits
from sayci.loglines import Read
from sayci.outlook import Outlook
from sayci.person import Member, Person
from sayci.project import MirrorState, Project, Settings, Variable
from sayci.report import DueStatus
from sayci.retention import Remains
from sayci.step import Result

# ------------------------------------------------------------------------------------------------ running a step


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run as a step, and all that it is given.

    `key` names the step's run directory below the launcher's root, such as "12/1-test" (see buildlog.key_of): its log is
    the file `log` in there.  An empty log that is there before the start says of a key that nothing of it has run, where
    otherwise nothing would be known.  `environment` is the whole environment of the command.  `secrets` never appear in
    the log, nor do their usual encodings (see buildlog.masks_of).  `workspace` is where the command runs; `beside` are
    the other directories that are the step's, such as its home.  `image` is what it runs in where it runs in a
    container; "" takes the launcher's own.  `grace` is the time between TERM and KILL, in seconds.
    """

    key: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    workspace: Path
    secrets: tuple[str, ...] = field(default=(), repr=False)
    limits: Limits = NONE
    grace: float = 5.0
    beside: tuple[Path, ...] = ()
    image: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step's command ended.

    `why` is "" when it ended by itself, or one of: cancelled; the name of the limit for which it was ended (time_limit,
    silence_limit, output_limit, process_limit, memory_limit, workspace_limit); start_failed (then `detail` says what the
    system said), lost (nobody knows how it ended: its shim was killed or the machine restarted), never_started (nothing
    of it has run: it may safely be started again).  `exit_code` is negative for a signal, None when there is none; where
    the launcher cannot tell the two apart, 128 + N is signal N too.  `output` counts bytes in the log, `dropped` those
    beyond the output limit or that a full disk refused.  `duration` is in seconds of the monotonic clock.
    `memory_kills` counts the processes on the whole machine that the kernel has killed meanwhile for want of memory.
    """

    exit_code: int | None
    why: str = ""
    detail: str = ""
    output: int = 0
    dropped: int = 0
    duration: float = 0.0
    memory_kills: int = 0


@dataclass(frozen=True, slots=True)
class Isolation:
    """Whether anything keeps a step from the server's state and from other builds, and what does, or why nothing does."""

    holds: bool
    words: str


class Launcher(Protocol):
    """Where a step is made to run.

    The life of a step: `start` once; `result` by whoever wants its end, also by a later server that knows no more than
    the handle; `cancel` at any time, any number of times.  The command outlives the server.  Whatever happens, when
    `result` has answered no process of the step is left, as far as the launcher's isolation reaches, and its log is
    complete.
    """

    async def start(self, job: Job) -> str:
        """Start the command and answer its handle: text that finds it again, also after a restart of the server.

        Raises LauncherError when not even the attempt could be made; a command that is not there is a result.
        """
        ...

    async def result(self, handle: str) -> Ended:
        """How the command ended, as soon as it has; attaches to one that another server started.

        Safe to call again after the end, and for a handle of which nothing is known any more (why = lost).
        """
        ...

    def cancel(self, handle: str) -> None:
        """Ask for the end: TERM to every process of the step, after the grace time KILL.  Nothing if it has ended."""
        ...

    @property
    def isolation(self) -> Isolation:
        """What keeps a step from the server and other steps."""
        ...


class Users(Protocol):
    """Users of this machine, each lent to one build at a time.

    The group of a user has the user's number.  A build's workspace belongs to the user that was lent to it, and its steps
    run as whoever owns their workspace.
    """

    async def lend(self, build_id: int) -> int:
        """The user's number: the one that the build has already, or one of whom nothing is left on the machine.

        Waits while all are lent.
        """
        ...

    def keep(self, build_id: int, uid: int) -> None:
        """A build has this user since an earlier server's time; nothing if it is none of these users."""
        ...

    async def give_back(self, build_id: int) -> None:
        """The build has ended and its workspace is gone; what else is left of its user is removed.  Raises nothing."""
        ...


# ------------------------------------------------------------------------------------------------ repositories


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository to ask: its address, and the token that opens it, if it takes one."""

    url: str
    access_token: str = field(default="", repr=False)


class Sources(Protocol):
    """Copies of the projects' repositories, and fresh checkouts of single commits.

    All raise RepositoryRefused, CommitNotFound or RepositoryUnreachable with words for people, `checkout` also LauncherError
    when nobody is left for the build to run as; no method ever waits longer than its limit, and none leaves a process
    behind.  `log` is called with what git says, as it says it.
    """

    async def heads(self, remote: Remote) -> Mapping[str, str]:
        """Every branch of the repository with the commit that it points to: {"main": "4f1c…"}.  Empty for an empty one."""
        ...

    async def clone(self, project_id: int, remote: Remote, branch: str) -> None:
        """Fill the project's mirror with `branch`; what is there already is kept.  For an absent branch: just the mirror."""
        ...

    async def checkout(
        self,
        project_id: int,
        remote: Remote,
        commit: str,
        build_id: int,
        log: Callable[[bytes], None],
        *,
        debug: bool = False,
    ) -> Path:
        """Fetch exactly `commit` into the mirror and answer a fresh workspace: `tree`, `home` and `tmp` directories in it.

        Anything an earlier attempt of the same build left is removed first.
        """
        ...

    async def describe(self, project_id: int, commit: str) -> tuple[str, str]:
        """Message and author of a commit that the mirror has."""
        ...

    async def discard(self, project_id: int, build_id: int) -> None:
        """Remove the build's workspace, whatever a build made of it, and its hold on the mirror.  Raises nothing."""
        ...

    async def sweep(self, open_builds: Collection[int]) -> None:
        """Remove the workspaces that were there when this server started, but for those of these builds.  Raises nothing."""
        ...

    async def remove(self, project_id: int) -> None:
        """Remove the project's mirror.  Raises nothing."""
        ...


# ------------------------------------------------------------------------------------------------ forges


class Forge(Protocol):
    """What one kind of forge sends: pure functions over bytes."""

    def verify(self, secret: str, headers: Mapping[str, Sequence[str]], body: bytes) -> None:
        """Raises WrongSignature unless exactly one signature header is there and matches the raw body.

        `headers` has lower-case names.  Compares in constant time; an empty secret matches nothing.
        """
        ...

    def labels(self, headers: Mapping[str, Sequence[str]]) -> tuple[str, str]:
        """What kind of event a delivery calls itself, and its identity; "" for what no forge sends.

        Of any delivery, also one that is not authentic: for people to find it again at the forge, and for nothing else.
        """
        ...

    def delivery_id(self, headers: Mapping[str, Sequence[str]], body: bytes) -> str:
        """The forge's own identity of the delivery; made from the body where the forge sent none that can be used."""
        ...

    def parse(self, headers: Mapping[str, Sequence[str]], body: bytes) -> Message:
        """What an authentic delivery says.  Raises Malformed or Unsupported when it cannot be read."""
        ...


class Reporter(Protocol):
    """Tells somebody outside what has become of builds."""

    async def post(self, status: DueStatus, access_token: str) -> None:
        """Tell it once.  Raises a NotTold that says whether and when to try again."""
        ...


# ------------------------------------------------------------------------------------------------ data

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list; `next` is the cursor of the part after it, None at the end."""

    items: Sequence[Item]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which builds are looked for.

    `results` empty: whatever the result, and those that have none.  Each of `words` is in the message or the author's name,
    in any case of ASCII letters, or begins the commit.
    """

    results: frozenset[Result] = frozenset()
    cause: Cause | None = None
    words: tuple[str, ...] = ()


class Store(Protocol):
    """All that outlives the server, but for logs and repositories.

    When a method that writes has answered, what it wrote is on disk; each is one transaction, and several at once share
    one.  Methods raise the Missing and Conflict errors that are named, Unavailable when the database cannot take a write
    now, and have then changed nothing.  Where builds change, the outbox of commit statuses changes in the same transaction
    (report.statuses_of).  `now` is in seconds since the epoch.
    """

    # -- projects

    async def add_project(self, settings: Settings, webhook_secret: str, access_token: str, now: float) -> Project:
        """Raises NameTaken, also for a name that differs only in case."""
        ...

    async def change_project(self, name: str, change: Callable[[Settings], Settings]) -> Project:
        """Give the project the settings that `change` makes of its present ones.

        Raises UnknownProject, NameTaken, and whatever `change` raises.
        """
        ...

    async def set_mirror(self, project_id: int, state: MirrorState, error: str = "") -> Project:
        """Raises UnknownProject."""
        ...

    async def set_access_token(self, name: str, access_token: str) -> Project:
        """Replace the forge's access token; "" removes it.  What was not told with the old one is due again.

        Raises UnknownProject.
        """
        ...

    async def set_webhook_secret(self, name: str, webhook_secret: str) -> Project:
        """Replace the webhook secret.  Raises UnknownProject."""
        ...

    async def remove_project(self, name: str) -> Project:
        """Remove it with all its rows.  Raises UnknownProject; IllegalMove while a build of it waits or runs."""
        ...

    async def project(self, name: str) -> Project:
        """The project of that name, in any case.  Raises UnknownProject."""
        ...

    async def project_by_id(self, project_id: int) -> Project:
        """Raises UnknownProject."""
        ...

    async def names_of(self, project_ids: Collection[int]) -> Mapping[int, str]:
        """The names of those of these projects that are there."""
        ...

    async def projects(
        self, *, after: int = 0, limit: int = 100, granted: Collection[int] | None = None
    ) -> Page[Project]:
        """By id, rising; the cursor is the last id.  With `granted`: only public ones, and those of these ids."""
        ...

    async def webhook_secret(self, name: str) -> tuple[Project, str]:
        """For verifying deliveries.  Raises UnknownProject.  Answers from memory after the first time."""
        ...

    async def access_token(self, project_id: int) -> str:
        """The forge's token, empty when there is none.  Raises UnknownProject."""
        ...

    # -- environment

    async def variables(self, project_id: int, *, revealed: bool = False) -> Sequence[Variable]:
        """By name.  The values of secret ones are None, unless `revealed` (for running steps alone)."""
        ...

    async def set_variable(self, project_id: int, variable: Variable) -> None:
        """Add it or replace the one of that name.  Raises Invalid beyond VARIABLES_LIMIT or SECRETS_LIMIT."""
        ...

    async def remove_variable(self, project_id: int, name: str) -> bool:
        """Whether there was one."""
        ...

    # -- deliveries

    async def accept(self, delivery: NewDelivery) -> Accepted:
        """Keep it, unless one with its forge_id is there: then that one is answered."""
        ...

    async def settle(self, delivery_id: int, verdict: Verdict, explanation: str, build: NewBuild | None) -> Settled:
        """Say what became of a delivery and make its build, in one transaction.  Raises UnknownDelivery, UnknownProject."""
        ...

    async def supersede(self, delivery_ids: Sequence[int], explanation: str) -> None:
        """Give all these deliveries that are still `received` the verdict `superseded`, in one transaction."""
        ...

    async def unsettled(self, *, after: int = 0, limit: int = 100) -> Sequence[tuple[Delivery, StoredBody]]:
        """Deliveries whose verdict is still `received`, the oldest first: what a stopped server left."""
        ...

    async def delivery(self, project_id: int, delivery_id: int) -> tuple[Delivery, StoredBody]:
        """Raises UnknownDelivery."""
        ...

    async def deliveries(
        self,
        project_id: int | None,
        *,
        before: int | None = None,
        limit: int = 50,
        verdicts: Collection[Verdict] = (),
    ) -> Page[Delivery]:
        """The newest first, of a project or (None) of all; the cursor is an id.

        With `verdicts` those alone, of a bounded number that are looked at.
        """
        ...

    # -- builds

    async def add_build(self, build: NewBuild, now: float) -> Added:
        """Give it the project's next number; cancel what it supersedes.  Raises UnknownProject."""
        ...

    async def advance(self, build_id: int, move: Callable[[Build], Build]) -> Build:
        """Replace the build by what `move` makes of it as it is now; `move` is pure and quick.

        Raises UnknownBuild, and whatever `move` raises; then nothing has changed.
        """
        ...

    async def build(self, project_id: int, number: int) -> Build:
        """Raises UnknownBuild."""
        ...

    async def builds(
        self,
        project_id: int,
        *,
        before: int | None = None,
        limit: int = 50,
        ref: str | None = None,
        deploys_only: bool = False,
        wanted: Wanted | None = None,
    ) -> Page[Build]:
        """The newest first; the cursor is a number.

        With something `wanted` a part looks at a bounded number of builds, so that it may be short or empty and yet have
        a next one.
        """
        ...

    async def refs(self, project_id: int) -> Sequence[tuple[str, int]]:
        """The refs that were built, each with the number of its newest build, the newest first; not more than some 200."""
        ...

    async def outlooks(self, project_ids: Sequence[int] | None = None) -> Sequence[Outlook]:
        """How these projects stand, or all of them, by id; those that are not there are left out."""
        ...

    async def deploying(self, project_ids: Sequence[int]) -> Sequence[Deploying]:
        """The deploys of these projects as far as they count now, by project; without those that are not there."""
        ...

    async def builds_numbered(self, project_id: int, numbers: Collection[int]) -> Mapping[int, Build]:
        """Those of the project's builds that have these numbers, by number."""
        ...

    async def open_builds(self) -> Sequence[Build]:
        """Every build that waits or runs, by id: what a starting server takes up."""
        ...

    async def green_build(self, project_id: int, commit: str) -> Build:
        """The newest build whose tests succeeded for `commit`.  Raises NotGreen."""
        ...

    async def was_built(self, project_id: int, ref: str, commit: str) -> bool:
        """Whether there is a build of that commit and ref already, or was one that was forgotten."""
        ...

    async def found_build(self, project_id: int, ref: str, commit: str) -> Build | None:
        """The build of that commit and ref that was found by asking the repository; None when there is none."""
        ...

    async def is_newest(self, build: Build) -> bool:
        """Whether no later build of the same ref and project has another commit."""
        ...

    # -- branches

    async def seen_heads(self, project_id: int) -> Mapping[str, str] | None:
        """The commit of each branch when the repository was asked last; None when it never was."""
        ...

    async def see_heads(self, project_id: int, now: Mapping[str, str]) -> None:
        """Replace them by what the repository says now.  Nothing for a project that is gone."""
        ...

    # -- what is old

    async def remains(self, project_id: int) -> Sequence[Remains]:
        """All builds of the project, as far as retention.py has to know them.  Raises UnknownProject."""
        ...

    async def forget_builds(self, build_ids: Sequence[int]) -> None:
        """Remove those of these builds that have ended; that their commits were built is remembered (`was_built`)."""
        ...

    async def forget_bodies(self, before: float, limit: int) -> int:
        """Remove headers and bodies of `limit` deliveries that came before; of how many.  None that is `received`."""
        ...

    async def forget_deliveries(self, before: float, limit: int) -> int:
        """Remove `limit` deliveries that came before; how many.  None that is `received` or whose build is there."""
        ...

    # -- commit statuses

    async def due_statuses(self, now: float, limit: int = 20) -> Sequence[DueStatus]:
        """Those that have not been posted as they are now, and whose time for a try has come, the oldest first.

        Only those of projects that have an access token.  `url` is left empty: the reporter makes it.
        """
        ...

    async def next_due(self) -> float | None:
        """When the next status may be tried; None when all is told."""
        ...

    async def check(self) -> None:
        """Read and write something.  Raises Unavailable where that cannot be done now."""
        ...

    async def hasten_statuses(self, by: float) -> None:
        """Let all tries that are to come be made `by` seconds earlier: the clock was set back by so many."""
        ...

    async def status_told(self, status_id: int, version: int) -> None:
        """It was posted as of `version`; a newer version stays due."""
        ...

    async def status_failed(self, status_id: int, version: int, error: str, retry_at: float | None) -> None:
        """It was not posted; None gives up on this version."""
        ...

    async def told_statuses(self, project_id: int, commit: str) -> Sequence[ToldStatus]:
        """What was or is to be said of a commit, by context."""
        ...

    # -- people and programs

    async def add_token(
        self,
        name: str,
        access: Access,
        digest: bytes,
        now: float,
        expires_at: float | None,
        *,
        person_id: int | None = None,
    ) -> Token:
        """Keep a token by its digest; with a `person_id` it is that person's.  Raises UnknownPerson."""
        ...

    async def tokens(self, *, person_id: int | None = None) -> Sequence[Token]:
        """All of them, or a person's, by id."""
        ...

    async def token(self, digest: bytes) -> Token | None:
        """The token of that digest."""
        ...

    async def remove_token(self, token_id: int) -> bytes:
        """Answers its digest.  Raises UnknownToken."""
        ...

    async def actor_of_token(self, digest: bytes, now: float, *, is_use: bool = True) -> Actor | None:
        """Who holds the token of that digest; None when there is none or it has expired.  Answers from memory if it can.

        One of a person acts as that person is now (account.capped); it is gone with the person.  `is_use`: to be noted as
        its last use.
        """
        ...

    async def add_sign_in_code(self, digest: bytes, expires_at: float) -> None:
        """Keep a one-time code for the administrator."""
        ...

    async def use_sign_in_code(self, digest: bytes, now: float) -> bool:
        """Whether the code is good; it is not any more afterwards."""
        ...

    async def anyone_signed_in(self) -> bool:
        """Whether a sign-in code was ever used."""
        ...

    async def add_session(self, digest: bytes, actor: Actor, now: float, expires_at: float, origin: Origin) -> None:
        """Keep a session of the pages."""
        ...

    async def actor_of_session(self, digest: bytes, now: float, *, is_use: bool = True) -> Actor | None:
        """Whose session it is; None when there is none, it has expired, or nobody has used it for SESSION_IDLE seconds.

        A person's access is that of the role as it is now.  Answers from memory if it can.  `is_use`: as above.
        """
        ...

    async def sessions(self, name: str, person_id: int | None, now: float) -> Sequence[Session]:
        """Where a person is signed in, the newest first; with None, who goes by that name without an account."""
        ...

    async def remove_session(self, digest: bytes) -> None:
        """Nothing if there is none."""
        ...

    async def add_person(self, name: str, role: Access, now: float) -> Person:
        """Somebody without a password.  Raises NameTaken, also for a name that differs only in case."""
        ...

    async def people(self) -> Sequence[Person]:
        """By name."""
        ...

    async def person(self, name: str) -> Person:
        """Whoever has that name, in any case.  Raises UnknownPerson."""
        ...

    async def password_of(self, name: str) -> tuple[Person | None, str | None]:
        """Whoever has that name, in any case, and what is kept of the password; None for what there is not."""
        ...

    async def set_password(self, person_id: int, password: str, *, ends_sessions: bool) -> None:
        """Keep another password's hash, and end the sessions of the person if they are to end."""
        ...

    async def set_role(self, name: str, role: Access) -> Person:
        """Raises UnknownPerson, and LastAdmin where nobody else with a password is an admin."""
        ...

    async def remove_person(self, name: str) -> None:
        """With sessions and invitation.  Raises UnknownPerson, and LastAdmin as above."""
        ...

    async def members(self, project_id: int) -> Sequence[Member]:
        """Who was granted something in the project, by name."""
        ...

    async def set_member(self, project_id: int, name: str, role: Access | None) -> Member | None:
        """Grant somebody a role in a project, or none any more.

        Raises UnknownPerson, also for who has no role to be taken away, and UnknownProject.
        """
        ...

    async def add_invitation(self, person_id: int, digest: bytes, expires_at: float) -> None:
        """Keep an invitation in the place of an earlier one.  Raises UnknownPerson."""
        ...

    async def invited(self, digest: bytes, now: float) -> Person | None:
        """Whose invitation it is; None when there is none or it has expired."""
        ...

    async def accept_invitation(self, digest: bytes, password: str, now: float) -> Person | None:
        """Use an invitation up: keep the password's hash, and end the person's sessions.  None as above."""
        ...


class Identities(Protocol):
    """Who people are at the forge, and what they may do in single projects because of it.

    It is kept apart from what was granted here (`Store.set_member`); of the two, the greater holds.  Whoever has neither a
    role, a password nor a grant after a change has no session any more.  As of Store, methods that write have written.
    """

    async def person_of(self, identity_id: int) -> Person | None:
        """Whose identity at the forge that is."""
        ...

    async def linked(self, person_id: int) -> Linked | None:
        """Who a person is at the forge, as far as that is known."""
        ...

    async def all_linked(self) -> Sequence[Linked]:
        """Everybody who is somebody at the forge."""
        ...

    async def link(self, person_id: int, identity: Identity, token: ForgeToken, now: float) -> None:
        """Say who a person is at the forge, in the place of what was said before, and keep the token, sealed.

        Raises UnknownPerson, and IdentityTaken when that is somebody else here.
        """
        ...

    async def add_person(
        self, names: Iterable[str], identity: Identity, token: ForgeToken, access: Mapping[int, Access], now: float
    ) -> Person:
        """A new member with the first of the `names` that nobody has, linked, and with this access.

        Raises NameTaken, IdentityTaken.
        """
        ...

    async def token(self, person_id: int) -> ForgeToken | None:
        """What asks the forge in the person's name; None where there is none any more."""
        ...

    async def keep_token(self, person_id: int, token: ForgeToken) -> None:
        """Another one.  Nothing for somebody who is not linked."""
        ...

    async def access(self, person_id: int) -> Mapping[int, Access]:
        """What the forge has given, by project."""
        ...

    async def set_access(self, person_id: int, access: Mapping[int, Access], now: float) -> bool:
        """Keep what the forge says of these projects; of others what it said before stays.  Whether that is another."""
        ...

    async def has_anything(self, person_id: int) -> bool:
        """Whether there is a role, a password or a grant, from here or from the forge."""
        ...

    async def revoke(self, person_id: int) -> None:
        """The authorization is revoked: forget the token and what followed from it, and end the person's sessions."""
        ...

    async def unlink(self, person_id: int) -> None:
        """Forget who the person is at the forge, and what followed from it."""
        ...

    async def lapse(self, before: float) -> Sequence[int]:
        """Forget what the forge said before, and has not said again; of which people, by their ids."""
        ...

    async def members(self, project_id: int) -> Sequence[Member]:
        """Who may do something in the project because of the forge, by name."""
        ...


class ForgeAccounts(Protocol):
    """A forge at which people have accounts.

    All raise ForgeAway where it gives no answer that says anything, and never wait longer than a limit.
    """

    def authorize_url(self, state: str, challenge: str, back: str) -> str:
        """Where somebody agrees to be known here; the forge sends the browser to `back` afterwards."""
        ...

    async def token_for(self, code: str, verifier: str, back: str) -> ForgeToken:
        """What the code is exchanged for.  Raises ForgeDenied for a code that is none; ForgeMisconfigured."""
        ...

    async def renewed(self, token: ForgeToken) -> ForgeToken:
        """Another one for one that has expired.  Raises ForgeDenied; ForgeMisconfigured."""
        ...

    async def identity(self, token: ForgeToken) -> Identity:
        """Whose token it is.  Raises ForgeDenied."""
        ...

    async def access(self, token: ForgeToken, repository: Repository) -> Access:
        """How far its owner reaches in a repository; NONE where the forge has none for them.  Raises ForgeDenied."""
        ...


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A delivery's headers and raw body, as they came."""

    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Added:
    """A new build, and those that it superseded."""

    build: Build
    superseded: Sequence[Build] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery with its verdict, the build that it made if any, and those which that superseded."""

    delivery: Delivery
    build: Build | None = None
    superseded: Sequence[Build] = ()


@dataclass(frozen=True, slots=True)
class ToldStatus:
    """A commit status and how far its way to the forge is: `told` says that the forge has it as it is now."""

    context: str
    state: str
    description: str
    told: bool
    attempts: int
    error: str
    retry_at: float | None


class LogStore(Protocol):
    """The logs of steps: files that only grow, read by ranges.  A key is buildlog.key_of."""

    def size(self, key: str) -> int:
        """Bytes that the log has now; 0 when there is none yet.  Quick enough for the reactor."""
        ...

    async def read(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`; b"" at the end."""
        ...

    async def times(self, key: str) -> bytes:
        """When which part of the log came, as loglines.Times reads it; b"" where nobody has noted it."""
        ...

    async def work(self, key: str, work: Callable[[Read], Answer]) -> Answer:
        """What `work(read)` answers or raises; it is called in a thread, where there is time to read and to count.

        Others wait for the thread, so a long work is cut into parts.
        """
        ...

    def writer(self, key: str) -> LogWriter:
        """Append to the log; made if it is not there."""
        ...

    async def remove(self, build_id: int) -> None:
        """Remove all logs of a build.  Raises nothing."""
        ...

    def removed_at(self, key: str) -> float | None:
        """When the log was removed because it was old, in seconds since the epoch; None where it was not."""
        ...

    async def kept(self) -> Mapping[int, int]:
        """The builds that have logs, by id, and how many bytes these take of the disk."""
        ...

    async def clear(self, build_id: int) -> None:
        """Remove the logs of a build that has ended, and keep in mind when.  Raises nothing."""
        ...

    async def compress(self, build_id: int, may_go_on: Callable[[], bool]) -> bool:
        """Make the logs of a build that has ended take less of the disk; whether that is done.

        `may_go_on` is called often, in another thread; where it answers False, nothing more is done.  Sizes, offsets and
        what is read stay as they are.  Raises nothing.
        """
        ...


class LogWriter(Protocol):
    """Appends to one log."""

    def write(self, data: bytes) -> None:
        """Append; a full disk drops the bytes and never raises."""
        ...

    def close(self) -> None:
        """Done with; safe to repeat."""
        ...


# ------------------------------------------------------------------------------------------------ certificates


class Certificates(Protocol):
    """The certificates that this server serves and keeps fresh."""

    def certificates(self) -> Sequence[Certificate]:
        """Those of all names, by name; empty where certificates are not sayci's business."""
        ...
