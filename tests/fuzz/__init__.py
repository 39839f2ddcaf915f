"""
Fuzzing: each module has one ``check`` that takes examples from Hypothesis and compares the code
with an oracle: a second, different implementation of the same rules.

They run for a moment with the other tests, longer with ``CHATFILES_SOAK=1``, and for as long as one
likes, guided by coverage where ``atheris`` is installed::

    python -m tests.fuzz ranges --seconds 600
"""
