/*
 * late - how long the machine's processors were away, for bench/lab.sh.
 *
 *   late                       until SIGTERM; then prints the longest time, "late_ms=N"
 *
 * A thread on each processor, before all others where that is allowed, wants to run each 5 ms. That
 * it is late by tens of milliseconds is the doing of a virtual machine's host, which ran others: a
 * gap of that length in a flow says nothing of the program under test. (test/e2e/pulse.c counts what
 * an ordinary process waits for, the machine's own load included.)
 *
 * Exit status: 0; 1 for what the system refused.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVERY_MS 5

static atomic_long worst_us;

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void *watch(void *arg)
{
    struct sched_param first = {.sched_priority = 1};
    struct timespec every = {.tv_nsec = EVERY_MS * 1000000};
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((int)(intptr_t)arg, &one);
    if (pthread_setaffinity_np(pthread_self(), sizeof(one), &one))
        return NULL; /* none of ours */
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
    for (;;) {
        int64_t at = now_us();
        long late, worst = atomic_load(&worst_us);

        nanosleep(&every, NULL);
        late = (long)(now_us() - at) - EVERY_MS * 1000;
        while (late > worst && !atomic_compare_exchange_weak(&worst_us, &worst, late))
            ;
    }
}

int main(void)
{
    sigset_t end;
    int got;

    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        pthread_t thread;
        cpu_set_t all;

        if (sched_getaffinity(0, sizeof(all), &all)) {
            perror("late: sched_getaffinity");
            return 1;
        }
        if (CPU_ISSET(i, &all) && pthread_create(&thread, NULL, watch, (void *)(intptr_t)i)) {
            fputs("late: no thread\n", stderr);
            return 1;
        }
    }
    sigwait(&end, &got);
    printf("late_ms=%ld\n", atomic_load(&worst_us) / 1000);
    return 0;
}
