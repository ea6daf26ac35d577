"""What reaches a terminal: control characters are shown instead of obeyed, and a reader that is gone ends no run.

Standard output belongs to the command: what plugins and libraries print goes to stderr.

Texts of recipes, files and plugins reach messages, tables and progress bars. Both standard streams of a command pass
through `Output`, and everything that Rich prints through `console`, which alone may write control sequences.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from fptkit.errors import visible

if TYPE_CHECKING:
    from rich.console import Console


_BARS = ("tqdm",)
"""Packages that draw progress bars, as downloads of Hugging Face do on a terminal."""


_CARRIERS = frozenset({*sys.stdlib_module_names, "click", "rich"})
"""Packages that print for whoever calls them."""


class Output(io.TextIOWrapper):
    """A standard stream of a command.

    Args:
        stream: the stream that it replaces.
        buffer: where it writes; None: where that stream writes.
        outlives: whether a command continues if nobody reads the stream any more, as after ``| head``.
        others: the stream for what is not printed by fptkit; None: this one.

    Attributes:
        failure: why the stream can no longer be written; None if it can.
    """

    def __init__(
        self,
        stream: io.TextIOWrapper,
        *,
        buffer: BinaryIO | None = None,
        outlives: bool = False,
        others: TextIO | None = None,
    ) -> None:
        super().__init__(
            buffer or stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
        )
        self.outlives, self.others = outlives, others
        self._stream = stream  # if it were freed, it would close the buffer
        self.failure: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write a text without its control characters; the progress bars of libraries keep theirs."""
        if self.others is not None and not _printed_by_fptkit():
            return self.others.write(text)
        caller = sys._getframe().f_back  # None while the interpreter prints a traceback
        if caller and caller.f_globals.get("__name__", "").partition(".")[0] in _BARS:
            return self.write_as_it_is(text)
        return self.write_as_it_is(visible(text.replace("\r\n", "\n")))

    def write_as_it_is(self, text: str) -> int:
        """Write a text with its control characters: those of a progress bar, or of data in a pipe."""
        if self.failure is None:
            try:
                return super().write(text)
            except OSError as err:
                self._lose(err)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            super().flush()
        except OSError as err:
            self._lose(err)

    def _lose(self, err: OSError) -> None:
        """Continue without the stream, or end the command.

        Raises:
            OSError: the error, if the command is to end.
        """
        self.failure = err
        with contextlib.suppress(OSError):  # what is buffered must go somewhere, or the end of the process fails
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        if not self.outlives:
            raise err


class _AsItIs:
    """The file of a console: an `Output` that takes control sequences."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str) -> int:
        return self._output.write_as_it_is(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


def take_over() -> None:
    """Let both standard streams of this process pass through `Output`. What is written to a closed one is lost.

    The descriptor of standard output leads to stderr afterwards, for compiled code and child processes that write
    to it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for the rest of the process
            setattr(sys, name, Output(nowhere, outlives=True))
    if type(sys.stderr) is io.TextIOWrapper:
        sys.stderr = Output(sys.stderr, outlives=True)
    if type(sys.stdout) is io.TextIOWrapper:
        sys.stdout.flush()
        own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        with contextlib.suppress(OSError):  # stderr without a descriptor
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.stdout = Output(sys.stdout, buffer=own, others=sys.stderr)


def _printed_by_fptkit() -> bool:
    """Whether the innermost code on the stack that prints on its own behalf is fptkit's."""
    frame = sys._getframe(1).f_back
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _CARRIERS:
            return package in ("fptkit", "__main__")
        frame = frame.f_back
    return False


def outlive_readers() -> None:
    """Let this command go on if nobody reads its output any more: it works for its files, such as a run."""
    if isinstance(sys.stdout, Output):
        sys.stdout.outlives = True


def data_output() -> TextIO:
    """Standard output for data: into a pipe or file as they are, on a terminal without control characters."""
    stdout: Any = sys.stdout
    return _AsItIs(stdout) if isinstance(stdout, Output) and not stdout.isatty() else stdout  # type: ignore[return-value]


def is_lost(err: OSError) -> bool:
    """Whether an error is that of standard output, which cannot be written."""
    return isinstance(sys.stdout, Output) and sys.stdout.failure is err


def lost_output() -> str:
    """Why standard output could not be written completely; empty if it was, or if its reader went away."""
    failure = sys.stdout.failure if isinstance(sys.stdout, Output) else None
    if failure is None or failure.errno == errno.EPIPE:
        return ""
    return f"standard output cannot be written: {failure.strerror or failure}"


def console(*, stderr: bool = False, **settings: Any) -> Console:
    """A Rich console, which shows the control characters of what it prints; brackets in a text are text.

    Args:
        stderr: whether it writes to stderr.
        settings: further settings of Rich's console.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        _file: Any

        @property
        def file(self) -> Any:
            """The stream at the moment of writing, since tests and notebooks replace it."""
            stream = super().file
            return _AsItIs(stream) if isinstance(stream, Output) else stream

        @file.setter
        def file(self, stream: Any) -> None:
            self._file = stream

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else visible(text), style, control)

    return Safe(stderr=stderr, **{"highlight": False, "markup": False, **settings})
