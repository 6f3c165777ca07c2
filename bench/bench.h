/*
 * bench - how the microbenchmarks take time: one figure, one line.
 *
 * A figure is the CPU time of one operation, taken by running it in BENCH_SLOTS slots of
 * BENCH_SLOT seconds and keeping the best slot: what other programs do on the machine can
 * only make a slot worse. CPU time of the thread, so waiting for a core does not count, but
 * a cold cache, a slower clock and time stolen by a hypervisor do.
 *
 * Clock reads are kept out of the figure: a run takes BENCH_RUN seconds or more, or, where
 * every run needs fresh input (`prepare`), the known cost of the two reads is taken off.
 *
 * Whatever goes wrong ends the program with exit status 1 (BENCH_CHECK).
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BENCH_SLOTS 5
#define BENCH_SLOT  0.06  /* seconds of CPU time */
#define BENCH_RUN   0.001 /* seconds of CPU time */

/* End the program unless `ok`: an operation that fails is not the one to be timed. */
#define BENCH_CHECK(ok)                                                                        \
    do {                                                                                       \
        if (!(ok)) {                                                                           \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #ok);                   \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

struct bench {
    void (*run)(void *ctx, uint64_t n); /* do it `n` times */
    void *ctx;
    void (*prepare)(void *ctx); /* not timed, before each run; null: none needed */
    uint64_t batch;             /* the `n` of each run where `prepare` is set */
};

static inline double bench_cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What two clock reads with nothing between them measure. */
static inline double bench_overhead_s(void)
{
    static double least;

    for (int i = 0; least == 0 || i < 1000; i++) {
        double begin = bench_cpu_s(), took = bench_cpu_s() - begin;

        if (least == 0 || took < least)
            least = took;
    }
    return least;
}

static inline double bench_run_s(const struct bench *b, uint64_t n)
{
    double begin;

    if (b->prepare)
        b->prepare(b->ctx);
    begin = bench_cpu_s();
    b->run(b->ctx, n);
    return bench_cpu_s() - begin;
}

/* Nanoseconds of one operation. */
static inline double bench_ns(const struct bench *b)
{
    double overhead = bench_overhead_s(), best = 0;
    uint64_t n = b->prepare ? b->batch : 1;

    while (!b->prepare && bench_run_s(b, n) < BENCH_RUN)
        n *= 2;
    for (int slot = 0; slot < BENCH_SLOTS; slot++) {
        double spent = 0, each;
        uint64_t done = 0;

        for (; spent < BENCH_SLOT; done += n)
            spent += bench_run_s(b, n) - overhead;
        each = spent * 1e9 / (double)done;
        if (slot == 0 || each < best)
            best = each;
    }
    return best;
}

/* Print the line of a figure: `fmt`, a blank, ns=N. Returns N. */
__attribute__((format(printf, 2, 3))) static inline double bench_line(const struct bench *b,
                                                                      const char *fmt, ...)
{
    double ns = bench_ns(b);
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf(" ns=%.1f\n", ns);
    fflush(stdout);
    return ns;
}

#endif
