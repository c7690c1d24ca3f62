"""One inference process: ``python -m hemaloop.inference <descriptor>``; started by `child.Child`, of no use by hand.

It answers one question after another and ends with its owner.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading

from hemaloop import logs
from hemaloop.errors import HemaloopError
from hemaloop.inference.wire import (
    Question,
    Reply,
    TaskAnswer,
    Wire,
    receive_question,
    receive_settings,
    send_reply,
)
from hemaloop.labelconfig import parse_label_config
from hemaloop.memory import give_back_memory
from hemaloop.scoring import Scorer, TaskRef, TaskScore

_NICENESS = 5
"""The web process goes first, a training last."""
_IDLE_SECONDS = 5.0
"""Without a question, until memory is given back that only the next one needs."""


def main() -> None:
    """Answer until the owner is gone, which a closed wire tells."""
    os.nice(_NICENESS)
    try:
        _serve(Wire(int(sys.argv[1])))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)


def _serve(wire: Wire) -> None:
    settings = receive_settings(wire)
    logs.prepare(settings)
    questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(wire, questions), name="owner", daemon=True).start()
    scorer = Scorer(settings)
    while True:
        send_reply(wire, answer(scorer, _next(questions)))


def _next(questions: queue.SimpleQueue[Question]) -> Question:
    """Wait for it, in the end with as little memory as can be."""
    try:
        return questions.get(timeout=_IDLE_SECONDS)
    except queue.Empty:
        give_back_memory()
        return questions.get()


def _listen(wire: Wire, questions: queue.SimpleQueue[Question]) -> None:
    """Pass questions on; end the process at once when the owner is gone, also in the middle of a prediction."""
    try:
        while True:
            questions.put(receive_question(wire))
    except (EOFError, OSError):
        os._exit(0)


def answer(scorer: Scorer, question: Question) -> Reply:
    """What the scorer says; whatever is wrong with a model becomes a fault and not the end of the process."""
    try:
        config = parse_label_config(question.label_config)
        if not question.tasks:
            scorer.warm(question.project, config, question.live)
            return Reply()
        tasks = [TaskRef(number, data) for number, data in question.tasks]
        if question.drawn is None:
            scores = scorer.score(question.project, config, question.live, tasks)
        else:
            scores = [scorer.prompt(question.project, config, question.live, task, question.drawn) for task in tasks]
        return Reply(tuple(_answer(score) for score in scores), cache=scorer.images.taken())
    except HemaloopError as error:
        return Reply(fault=str(error))
    except Exception as error:  # noqa: BLE001 - foreign code below; the owner reports it
        return Reply(fault=f"{type(error).__name__}: {error}")


def _answer(score: TaskScore) -> TaskAnswer:
    prediction = score.prediction
    if prediction is None:
        return TaskAnswer(None, score.error or "no reason was given", score.seconds)
    return TaskAnswer(json.dumps(prediction, allow_nan=False).encode(), None, score.seconds)


if __name__ == "__main__":
    main()
