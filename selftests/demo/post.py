# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What post.c does, with a semaphore of Python's multiprocessing. usage: post.py COUNT"""

import multiprocessing
import sys
import time

semaphore = multiprocessing.get_context("spawn").Semaphore(0)
print(semaphore._semlock.name, flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    semaphore.release()
    time.sleep(0.001)
