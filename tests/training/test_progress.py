"""A run stops early when, and only when, held-out skill has not risen for its patience."""

from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.training.progress import Progress, measured, reason_to_stop

SKILLS = st.lists(st.none() | st.integers(-3, 3).map(float), max_size=12)


@given(SKILLS, st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_best_is_the_last_that_rose_by_more_than_the_minimum(skills, patience, minimum):
    progress = Progress(samples=5)
    best, best_step = None, None
    for step, skill in enumerate(skills):
        progress = measured(progress, step, skill, min_improvement=minimum)
        if skill is not None and (best is None or skill - best > minimum):
            best, best_step = skill, step
        assert (progress.best_skill, progress.best_step) == (best, best_step)
        assert progress.samples == 5
        reason = reason_to_stop(progress, step, patience=patience)
        assert (reason is not None) == (best_step is not None and step - best_step >= patience)
        assert reason_to_stop(progress, step, patience=0) is None


def test_the_reason_names_both_steps_the_skill_and_the_setting():
    reason = reason_to_stop(Progress(0, 500, 0.8312), 1500, patience=1000)
    assert "step 1500" in reason
    assert "since step 500 (0.831)" in reason
    assert "config.early_stopping.patience=1000" in reason
