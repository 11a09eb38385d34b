from seqcls import Callback, registry


@registry.callbacks.register("shout")
class Shout(Callback):
    """Prints the validation accuracy.

    Args:
        mark: What stands behind it.
    """

    def __init__(self, *, mark: str = "!") -> None:
        self.mark = mark

    def on_evaluation(self, state, evaluation, *, improved):
        print(f"{evaluation.validation.accuracy:.0%}{self.mark}")

