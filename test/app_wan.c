/* The link emulator: one direction in virtual time, then links with descriptors. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/wan.h"

#define MS NS_PER_MS

/* Put packet `tag` of n bytes. */
static int put(struct wan_core *c, uint32_t tag, size_t n, ns_t now)
{
    uint8_t buf[2000] = {0};

    memcpy(buf, &tag, sizeof(tag));
    return wan_core_put(c, buf, n, now);
}

/* The tag of what arrives by `now`, or -1. */
static int64_t get(struct wan_core *c, ns_t now)
{
    struct wan_pkt *p = wan_core_get(c, now);
    uint32_t tag;

    assert_true(wan_core_check(c));
    if (!p)
        return -1;
    memcpy(&tag, p->p, sizeof(tag));
    free(p);
    return tag;
}

static void test_wire(void **state)
{
    struct wan_shape s = {0};
    struct wan_core c;

    (void)state;
    wan_core_init(&c, &s, 1);
    assert_int_equal(wan_core_next(&c), NS_NEVER);
    assert_int_equal(get(&c, 5), -1);
    assert_int_equal(put(&c, 1, 100, 10), 0);
    assert_int_equal(put(&c, 2, 1500, 10), 0);
    assert_int_equal(wan_core_next(&c), 10);
    assert_int_equal(get(&c, 10), 1);
    assert_int_equal(get(&c, 10), 2);
    assert_int_equal(get(&c, 10), -1);
    assert_int_equal(c.stats.out_bytes, 1600);
    wan_core_free(&c);
}

/* 1250 bytes at 10 Mbit/s are 1 ms on the line; then 20 ms of delay. */
static void test_rate_and_delay(void **state)
{
    struct wan_shape s = {.rate_bps = 10000000, .delay = 20 * MS};
    struct wan_core c;

    (void)state;
    wan_core_init(&c, &s, 1);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(put(&c, i, 1250, 100 * MS), 0);
    for (uint32_t i = 0; i < 5; i++) {
        ns_t at = (121 + i) * MS;

        assert_int_equal(wan_core_next(&c), at);
        assert_int_equal(get(&c, at - 1), -1);
        assert_int_equal(get(&c, at), i);
    }
    /* The line was idle meanwhile: no credit is kept. */
    assert_int_equal(put(&c, 9, 1250, 500 * MS), 0);
    assert_int_equal(get(&c, 521 * MS - 1), -1);
    assert_int_equal(get(&c, 521 * MS), 9);
    wan_core_free(&c);
}

/* However late it is looked at, the line works on time. */
static void test_late_look(void **state)
{
    struct wan_shape s = {.rate_bps = 8000000, .delay = 5 * MS, .queue_bytes = 1000000};
    struct wan_core c;

    (void)state;
    wan_core_init(&c, &s, 1);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(put(&c, i, 1000, 0), 0);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(get(&c, 65 * MS), i);
    assert_int_equal(get(&c, 65 * MS), -1);
    assert_int_equal(c.stats.queued_bytes, 35 * 1000); /* 65 ms of line time are over */
    assert_int_equal(c.stats.held_packets, 40);
    wan_core_free(&c);
}

static const struct queue_row {
    uint64_t rate_bps, queue_bytes;
    ns_t queue_time;
    unsigned fit; /* of 1000-byte packets put at once */
} queues[] = {
    // clang-format off
    {8000000, 0,     10 * MS,  10},
    {8000000, 5000,  0,        5},
    {8000000, 5000,  10 * MS,  5},
    {8000000, 50000, 10 * MS,  10},
    {8000000, 0,     0,        50},  /* 50 ms */
    {8000000, 10,    0,        1},   /* one always fits */
    {0,       10,    0,        200}, /* an unlimited line has no queue */
    // clang-format on
};

static void test_queue(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        const struct queue_row *q = &queues[i];
        struct wan_shape s = {.rate_bps = q->rate_bps,
                              .queue_bytes = q->queue_bytes,
                              .queue_time = q->queue_time};
        struct wan_core c;
        unsigned fit = 0;

        wan_core_init(&c, &s, 1);
        for (uint32_t n = 0; n < 200; n++) {
            int rc = put(&c, n, 1000, 0);

            assert_true(rc == 0 || rc == QUIC_DROP);
            fit += rc == 0;
            assert_int_equal(rc == 0, n < q->fit);
        }
        assert_int_equal(fit, q->fit);
        assert_int_equal(c.stats.drops_queue, 200 - fit);
        assert_true(wan_core_check(&c));
        /* 1 ms later there is room for one more. */
        if (q->rate_bps)
            assert_int_equal(put(&c, 0, 1000, MS), 0);
        wan_core_free(&c);
    }
}

/* A new rate acts on what waits, a new delay not on what is in the air. */
static void test_change(void **state)
{
    struct wan_shape s = {.rate_bps = 8000000, .delay = 10 * MS};
    struct wan_core c;

    (void)state;
    wan_core_init(&c, &s, 1);
    for (uint32_t i = 0; i < 10; i++)
        put(&c, i, 1000, 0);
    s.rate_bps = 16000000;
    s.delay = 100 * MS;
    wan_core_set(&c, &s, 2 * MS); /* two are in the air */
    assert_int_equal(get(&c, 11 * MS), 0);
    assert_int_equal(get(&c, 12 * MS), 1);
    assert_int_equal(wan_core_next(&c), 102 * MS + MS / 2);
    assert_int_equal(get(&c, 102 * MS + MS / 2), 2);
    assert_int_equal(get(&c, 103 * MS), 3);
    /* A shorter delay must not overtake while order is kept. */
    s.delay = 0;
    wan_core_set(&c, &s, 103 * MS);
    put(&c, 50, 1000, 103 * MS);
    for (uint32_t i = 4; i < 10; i++)
        assert_int_equal(get(&c, 200 * MS), i);
    assert_int_equal(get(&c, 200 * MS), 50);
    wan_core_free(&c);
}

static void test_black_hole(void **state)
{
    struct wan_shape s = {.rate_bps = 8000000, .delay = 10 * MS};
    struct wan_core c;

    (void)state;
    wan_core_init(&c, &s, 1);
    put(&c, 1, 1000, 0);
    put(&c, 2, 1000, 0);
    s.black_hole = true;
    wan_core_set(&c, &s, 1 * MS);
    assert_int_equal(get(&c, 11 * MS), 1); /* was in the air already */
    assert_int_equal(get(&c, 100 * MS), -1);
    assert_int_equal(c.stats.drops_hole, 1);
    s.black_hole = false;
    wan_core_set(&c, &s, 100 * MS);
    put(&c, 3, 1000, 100 * MS);
    assert_int_equal(get(&c, 111 * MS), 3);
    wan_core_free(&c);
}

static const struct loss_row {
    uint32_t ppm, burst;
    double run; /* mean length of a loss expected; 0: not looked at */
} losses[] = {
    {0, 0, 0},      {10000, 0, 1.01}, {10000, 10, 10}, {200000, 1, 1.25}, {200000, 5, 5},
    {500000, 4, 4}, {900000, 20, 20}, {900000, 2, 0},  {1000000, 0, 0},   {2000000, 7, 0},
};

static void test_loss(void **state)
{
    const unsigned total = 400000;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        struct wan_shape s = {.loss_ppm = losses[i].ppm, .loss_burst = losses[i].burst};
        double want = losses[i].ppm >= 1000000 ? 1 : losses[i].ppm / 1e6, share, run;
        unsigned lost = 0, runs = 0;
        struct wan_core c;
        bool was = false;

        wan_core_init(&c, &s, 7 + i);
        for (uint32_t n = 0; n < total; n++) {
            struct wan_pkt *p;

            assert_int_equal(put(&c, n, 40, n), 0);
            p = wan_core_get(&c, n);
            lost += !p;
            runs += !p && !was;
            was = !p;
            free(p);
        }
        assert_int_equal(c.stats.drops_loss, lost);
        assert_true(wan_core_check(&c));
        share = (double)lost / total;
        run = runs ? (double)lost / runs : 0;
        assert_true(share >= want * 0.9 - 1e-9 && share <= want * 1.1 + 1e-9);
        if (losses[i].run > 0)
            assert_true(run > losses[i].run * 0.85 && run < losses[i].run * 1.15);
        wan_core_free(&c);
    }
}

/* Jitter spreads arrivals over its whole width; order is kept, or not. */
static void test_jitter(void **state)
{
    (void)state;
    for (unsigned reorder = 0; reorder < 2; reorder++) {
        struct wan_shape s = {.delay = 10 * MS, .jitter = 8 * MS, .reorder = reorder};
        unsigned swaps = 0, got = 0;
        ns_t least = NS_NEVER, most = 0;
        int64_t last = -1, tag;
        struct wan_core c;
        ns_t now = 0;

        wan_core_init(&c, &s, 3);
        for (uint32_t n = 0; n < 2000; n++) {
            now = (ns_t)n * MS / 4;
            put(&c, n, 100, now);
            while (wan_core_next(&c) <= now + MS / 4 - 1) {
                ns_t at = wan_core_next(&c), delay;

                tag = get(&c, at);
                assert_true(tag >= 0);
                delay = at - (ns_t)tag * MS / 4;
                least = ns_min(least, delay);
                most = ns_max(most, delay);
                swaps += tag < last;
                last = tag;
                got++;
            }
        }
        while ((tag = get(&c, now + 100 * MS)) >= 0)
            got++;
        assert_int_equal(got, 2000);
        assert_true(least >= 10 * MS && most <= 18 * MS);
        assert_true(most > 17 * MS);
        assert_true(reorder ? swaps > 100 && least < 11 * MS : swaps == 0);
        wan_core_free(&c);
    }
}

/* Against the plainest model there is: a FIFO line, all shapes at random. */
static void test_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        uint64_t rate = 1000000 * (1 + seed % 40);
        struct wan_shape s = {
            .rate_bps = rate, .delay = seed * 100000, .queue_time = (1 + seed % 20) * MS};
        uint64_t limit = rate * s.queue_time / (8 * NS_PER_S);
        struct {
            ns_t done, at;
            size_t n;
        } fifo[3000];
        size_t head = 0, tail = 0, out = 0;
        ns_t free_at = 0, now = 0;
        struct wan_core c;

        wan_core_init(&c, &s, seed);
        for (uint32_t i = 0; i < 3000; i++) {
            size_t n = 40 + (i * 7919 * seed) % 1400;
            uint64_t queued = 0;

            now += (i * 104729 * seed) % 700000;
            while (head < tail && fifo[head].done <= now)
                head++;
            for (size_t k = head; k < tail; k++)
                queued += fifo[k].n;
            if (queued == 0 || queued + n <= limit) {
                ns_t start = free_at > now ? free_at : now;

                free_at = start + n * 8 * NS_PER_S / rate;
                fifo[tail].n = n;
                fifo[tail].done = free_at;
                fifo[tail++].at = free_at + s.delay;
                assert_int_equal(put(&c, (uint32_t)tail - 1, n, now), 0);
            } else {
                assert_int_equal(put(&c, 0, n, now), QUIC_DROP);
            }
            while (out < tail && fifo[out].at <= now)
                assert_int_equal(get(&c, now), out++);
            assert_int_equal(get(&c, now), -1);
        }
        wan_core_free(&c);
    }
}

static void test_repeats(void **state)
{
    struct wan_shape s = {.loss_ppm = 300000, .jitter = 5 * MS, .reorder = true};
    struct wan_core c[3];
    unsigned differ = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        wan_core_init(&c[i], &s, i == 2 ? 6 : 5);
    for (uint32_t n = 0; n < 1000; n++) {
        ns_t now = n * MS;
        int64_t a;

        for (unsigned i = 0; i < 3; i++)
            put(&c[i], n, 100, now);
        a = get(&c[0], now);
        assert_int_equal(a, get(&c[1], now));
        differ += a != get(&c[2], now);
    }
    assert_true(differ > 100);
    for (unsigned i = 0; i < 3; i++)
        wan_core_free(&c[i]);
}

/* ---- with descriptors ---- */

struct runner {
    struct wan *w;
    int stop, rc;
};

static void *runner_main(void *arg)
{
    struct runner *r = arg;

    r->rc = wan_run(r->w, r->stop);
    return NULL;
}

/* Wait for a packet on `fd`; its size, or -1 after `ms`. */
static ssize_t recv_within(int fd, void *buf, size_t size, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    return recv(fd, buf, size, 0);
}

static ns_t clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (ns_t)ts.tv_sec * NS_PER_S + (ns_t)ts.tv_nsec;
}

/* ends[link][side]: what a host would hold of it; inner: what the emulator holds. */
static void links_open(struct wan_link *links, size_t n, int ends[][2])
{
    for (size_t i = 0; i < n; i++) {
        for (unsigned s = 0; s < 2; s++) {
            int pair[2];

            assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
            ends[i][s] = pair[0];
            links[i].fd[s] = pair[1];
        }
    }
}

static void links_close(struct wan_link *links, size_t n, int ends[][2])
{
    for (size_t i = 0; i < n; i++) {
        for (unsigned s = 0; s < 2; s++) {
            close(ends[i][s]);
            close(links[i].fd[s]);
        }
    }
}

/* Two links with delays of their own per direction, in a thread; live changes; counters. */
static void test_links(void **state)
{
    struct wan_link links[2] = {0};
    struct wan_stats st;
    struct wan_shape s;
    struct runner r = {0};
    pthread_t thread;
    int ends[2][2], pipefd[2];
    uint8_t buf[3000];

    (void)state;
    links_open(links, 2, ends);
    links[0].shape[0].delay = 20 * MS;
    links[1].shape[1].delay = 40 * MS;
    assert_int_equal(wan_new(links, 2, 1, &r.w), 0);
    assert_int_equal(pipe(pipefd), 0);
    r.stop = pipefd[0];
    assert_int_equal(pthread_create(&thread, NULL, runner_main, &r), 0);
    for (unsigned link = 0; link < 2; link++) {
        for (unsigned dir = 0; dir < 2; dir++) {
            ns_t start = clock_now(), took, want = links[link].shape[dir].delay;

            memset(buf, (int)(10 * link + dir), 1400);
            assert_int_equal(send(ends[link][dir], buf, 1400, 0), 1400);
            assert_int_equal(recv_within(ends[link][1 - dir], buf, sizeof(buf), 5000), 1400);
            took = clock_now() - start;
            assert_int_equal(buf[1399], 10 * link + dir);
            assert_true(took >= want);
        }
    }

    wan_get(r.w, 0, 0, &s);
    assert_int_equal(s.delay, 20 * MS);
    s.black_hole = true;
    s.delay = 0;
    wan_set(r.w, 0, 0, &s);
    for (unsigned i = 0; i < 100; i++) {
        /* The new shape holds at once: set came before the packet. */
        assert_int_equal(send(ends[0][0], buf, 50, 0), 50);
    }
    assert_int_equal(recv_within(ends[0][1], buf, sizeof(buf), 50), -1);
    s.black_hole = false;
    wan_set(r.w, 0, 0, &s);
    assert_int_equal(send(ends[0][0], buf, 60, 0), 60);
    assert_int_equal(recv_within(ends[0][1], buf, sizeof(buf), 5000), 60);

    close(pipefd[1]); /* a hang-up stops it */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(r.rc, 0);
    wan_count(r.w, 0, 0, &st);
    assert_int_equal(st.in_packets, 102);
    assert_int_equal(st.out_packets, 2);
    assert_int_equal(st.drops_hole, 100);
    wan_count(r.w, 1, 1, &st);
    assert_int_equal(st.in_bytes, 1400);
    assert_int_equal(st.out_bytes, 1400);
    wan_del(r.w);
    close(pipefd[0]);
    links_close(links, 2, ends);
}

/* In a child: a rate is kept, measured on 200 kB at 20 Mbit/s, that is 80 ms. */
static void test_rate_in_child(void **state)
{
    struct wan_link link = {0};
    struct wan_stats st;
    int ends[1][2], pipefd[2], status;
    uint8_t buf[3000] = {0};
    unsigned got = 0, sent = 0;
    ns_t start, took;
    struct wan *w;
    pid_t pid;

    (void)state;
    links_open(&link, 1, ends);
    link.shape[0] = (struct wan_shape){.rate_bps = 20000000, .queue_bytes = 1 << 20};
    assert_int_equal(wan_new(&link, 1, 1, &w), 0);
    assert_int_equal(pipe(pipefd), 0);
    pid = fork();
    if (pid == 0) {
        close(pipefd[1]);
        _exit(wan_run(w, pipefd[0]) == 0 ? 0 : 1);
    }
    close(pipefd[0]);
    start = clock_now();
    while (got < 200) {
        while (sent < 200 && sent < got + 60) {
            memcpy(buf, &sent, sizeof(sent));
            assert_int_equal(send(ends[0][0], buf, 1000, 0), 1000);
            sent++;
        }
        assert_int_equal(recv_within(ends[0][1], buf, sizeof(buf), 5000), 1000);
        assert_memory_equal(buf, &got, sizeof(got));
        got++;
    }
    took = clock_now() - start;
    assert_true(took > 75 * MS && took < 5000 * MS);
    close(pipefd[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    wan_count(w, 0, 0, &st);
    assert_int_equal(st.out_packets, 200);
    assert_int_equal(st.held_packets, 0);
    wan_del(w);
    links_close(&link, 1, ends);
}

/* The far end is gone: packets for it are counted, the run goes on. */
static void test_end_gone(void **state)
{
    struct wan_link links[2] = {0};
    struct wan_stats st = {0};
    struct runner r = {0};
    pthread_t thread;
    int ends[2][2], pipefd[2];
    uint8_t buf[100] = {0};

    (void)state;
    links_open(links, 2, ends);
    assert_int_equal(wan_new(links, 2, 1, &r.w), 0);
    assert_int_equal(pipe(pipefd), 0);
    r.stop = pipefd[0];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pthread_create(&thread, NULL, runner_main, &r), 0);
    close(ends[0][1]);
    assert_int_equal(send(ends[0][0], buf, 100, 0), 100);
    for (unsigned i = 0; i < 5000 && !st.drops_io; i++) {
        usleep(1000);
        wan_count(r.w, 0, 0, &st);
    }
    assert_int_equal(st.drops_io, 1);
    assert_int_equal(st.out_packets, 0);
    assert_int_equal(send(ends[1][0], buf, 100, 0), 100);
    assert_int_equal(recv_within(ends[1][1], buf, sizeof(buf), 5000), 100);
    assert_int_equal(write(pipefd[1], "x", 1), 1); /* readable stops it as well */
    pthread_join(thread, NULL);
    assert_int_equal(r.rc, 0);
    signal(SIGPIPE, SIG_DFL);
    wan_del(r.w);
    close(pipefd[0]);
    close(pipefd[1]);
    ends[0][1] = dup(0);
    links_close(links, 2, ends);
}

static void test_bad_links(void **state)
{
    struct wan_link link = {.fd = {-1, -1}};
    struct wan *w;

    (void)state;
    assert_int_equal(wan_new(&link, 1, 1, &w), QUIC_INVAL);
    assert_int_equal(wan_new(&link, 0, 1, &w), QUIC_INVAL);
    assert_int_equal(wan_new(&link, WAN_LINKS_MAX + 1, 1, &w), QUIC_INVAL);
    assert_null(w);
    wan_del(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire),      cmocka_unit_test(test_rate_and_delay),
        cmocka_unit_test(test_late_look), cmocka_unit_test(test_queue),
        cmocka_unit_test(test_change),    cmocka_unit_test(test_black_hole),
        cmocka_unit_test(test_loss),      cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_oracle),    cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_links),     cmocka_unit_test(test_rate_in_child),
        cmocka_unit_test(test_end_gone),  cmocka_unit_test(test_bad_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
