"""The processes of all ranks but the first, as that one starts and watches them."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from zipar_worker.errors import WorkerError
from zipar_worker.execute.progress_count import advance_
from zipar_worker.ranks.messages import Order, Outcome, Word, receive, send
from zipar_worker.serve.failures import EXIT_FATAL

_END_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.2

_PROGRAM = "import sys; sys.path[:] = {path!r}; from zipar_worker.ranks.follower import main; main(sys.argv[1:])"


class Follower:
    """A process, and the socket to it. Its end, if it was not asked for, is the end of this process."""

    def __init__(self, rank: int, count: int, device: str, store: int) -> None:
        """store: see `ConnectedRanks.connect`."""
        self.name = f"rank {rank} of {count}, on {device}"
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._is_ending = False
        self._connection, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-u", "-X", "utf8", "-c", _PROGRAM.format(path=sys.path)),
                    *map(str, (rank, count, store)),
                ],
                stdin=theirs.fileno(),
                # Not those of this process: whoever reads them takes their end for its own.
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[store],
            )
        self._output = threading.Thread(target=self._pass_on_output, name=f"output of rank {rank}", daemon=True)
        self._output.start()
        threading.Thread(target=self._listen, name=f"rank {rank}", daemon=True).start()

    def tell(self, order: Order) -> None:
        try:
            send(self._connection, order)
        except OSError:
            self._outcomes.get()  # it is gone, and so are we in a moment

    def answer(self) -> int:
        """To the oldest order that is answered. Raises `WorkerError`."""
        outcome = self._outcomes.get()
        if outcome.error is not None:
            raise WorkerError(outcome.error.code, outcome.error.message, outcome.error.details or None)
        return outcome.value

    def end(self) -> None:
        self._is_ending = True
        self._connection.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listen(self) -> None:
        decoder = msgspec.msgpack.Decoder(Word)
        try:
            while True:
                word = receive(self._connection, decoder)
                if isinstance(word, Outcome):
                    self._outcomes.put(word)
                else:
                    advance_()
        except (EOFError, OSError):
            if not self._is_ending:
                self._end_with_it()

    def _pass_on_output(self) -> None:
        output = self.process.stdout
        assert output is not None
        for line in output:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()

    def _end_with_it(self) -> None:
        """At once, also within a collective, in which the others would wait for it for ever."""
        try:
            code = self.process.wait(_END_SECONDS)
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            how = "is gone"
        self._output.join(_LAST_WORDS_SECONDS)
        print(f"zipar_worker: {self.name}, {how}: the others of its group end too", file=sys.stderr, flush=True)
        os._exit(EXIT_FATAL)


class Followers:
    """Started at once; they import PyTorch while the first rank does."""

    def __init__(self, devices: Sequence[str]) -> None:
        """devices: of all ranks."""
        self.store = os.memfd_create("zipar-ranks")
        count = len(devices)
        self.each = [Follower(rank, count, device, self.store) for rank, device in enumerate(devices) if rank > 0]

    def tell(self, order: Order) -> None:
        for follower in self.each:
            follower.tell(order)

    def answers(self) -> list[int]:
        """Of each. Raises the first `WorkerError`."""
        return [follower.answer() for follower in self.each]

    def end(self) -> None:
        """They are gone when this returns, and their memory is free."""
        for follower in self.each:
            follower.end()
        os.close(self.store)
