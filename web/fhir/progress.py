"""Progress: what a client that polls is told of a job that has not ended. No I/O."""

from engine.model import ExportJob, ExportStatus

TEXT_CHARS_MAX = 99  # E50: less than 100
YOUNG_SECONDS = 10  # a job this young may end any moment
PARKED_SECONDS_MIN = 10  # a job in trouble is tried again after some seconds, and then works
RETRY_SECONDS_MAX = 60


def progress_text(job: ExportJob) -> str:
    """The X-Progress of an open job, such as `in-progress: 12 of 40 files, 31 %`."""
    progress = job.progress
    if job.reason:
        text = f"waiting: {job.reason}"
    elif job.status is ExportStatus.ACCEPTED:
        text = "accepted: waiting for its turn"
    elif progress.parts_total == 0:
        text = f"{ExportStatus.IN_PROGRESS}: planning"
    else:
        done = f"{progress.parts_done} of {progress.parts_total} files"
        text = f"{ExportStatus.IN_PROGRESS}: {done}, {fraction_done(job):.0%}".replace("%", " %")
    clean = "".join(c if " " <= c <= "~" else "?" for c in text)  # it becomes a header
    return clean[:TEXT_CHARS_MAX]


def fraction_done(job: ExportJob) -> float:
    """How much of a job is done, by bytes where there is an estimate, else by parts."""
    progress = job.progress
    if progress.bytes_estimate > 0:
        return min(1.0, progress.bytes_done / progress.bytes_estimate)
    if progress.parts_total > 0:
        return progress.parts_done / progress.parts_total
    return 0.0


def retry_after_s(job: ExportJob, age_s: float) -> int:
    """When to ask again: soon while young, then a quarter of the time that may be left. A job
    that waits for its trouble to end is asked for less often."""
    done = fraction_done(job)
    if job.reason:
        return max(PARKED_SECONDS_MIN, min(RETRY_SECONDS_MAX, round(age_s / 4)))
    if age_s < YOUNG_SECONDS:
        return 1
    if done <= 0:
        return min(RETRY_SECONDS_MAX, round(age_s / 4))
    left_s = age_s * (1 - done) / done
    return max(1, min(RETRY_SECONDS_MAX, round(left_s / 4)))
