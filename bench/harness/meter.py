"""What the kernel says of a set of processes: processor time and memory."""
import re
import time

from harness.process import read


def memory_kib(pids, file="smaps_rollup", key="Rss"):
    return sum(int(re.search(rf"^{key}:\s+(\d+) kB", read(f"/proc/{pid}/{file}"), re.M).group(1))
               for pid in pids)


def cpu_times(pids):
    """(total ns, user ticks, sys ticks): the clock of clock_getcpuclockid(3), and stat's split."""
    total, user, system = 0, 0, 0
    for pid in pids:
        total += time.clock_gettime_ns(~pid << 3 | 2)
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return total, user, system
