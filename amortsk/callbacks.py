"""scikit-learn's callbacks (1.9 and later), or the same names doing nothing."""

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    # From a warning in a helper of `fit` to the user's call, the decorator between.
    STACK_LEVEL = 4
except ImportError:  # scikit-learn < 1.9
    STACK_LEVEL = 3

    class _NoContext:
        def subcontext(self, **_):
            return self

        def call_on_fit_task_begin(self, **_):
            return self

        def call_on_fit_task_end(self, **_):
            return False

    class CallbackSupportMixin:
        """An estimator without callbacks."""

        def _init_callback_context(self, **_):
            return _NoContext()

    def with_callbacks(method):
        """Return the method as it is."""
        return method


__all__ = ["STACK_LEVEL", "CallbackSupportMixin", "with_callbacks"]
