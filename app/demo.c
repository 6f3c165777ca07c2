/*
 * Theory of operation
 *
 * The stage (app/demo_stage.h) is built, and children play on it: demo_near says in which
 * phase it is, and this process, which draws, makes the links as the phase wants them and
 * decides what is being measured (`enum demo_window`):
 *
 *     run     A          B          both
 *     link A  whole      unplugged  whole       cut        whole
 *     link B  unplugged  whole      whole       whole      whole
 *     window  WIN_A      WIN_B      WIN_BOTH    WIN_CUT    WIN_BACK
 *
 * What is measured in a window leaves out its beginning, in which a flow finds its rate.
 */
#include "app/demo.h"

#include "app/demo_show.h"
#include "app/exit.h"
#include "app/ring.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAR_IN   "10.99.0.1"
#define TRAFFIC  5001
#define PATIENCE (15 * NS_PER_S)
#define FRAME    (200 * NS_PER_MS) /* of the live display */
#define LOOK     20000             /* us between two looks */

/* Parts of the last run, in hundredths: cut from .. to. */
#define CUT_FROM 40
#define CUT_TO   65

struct demo {
    struct demo_stage stage;
    struct demo_traffic traffic;
    struct demo_score *score;
    bool tty, drawn;
    enum demo_wire wire[DEMO_LINKS];
    ns_t ready; /* since when the links may be made as the next run wants them */
    enum demo_window window;
    ns_t opens; /* the window's measurement */
    struct demo_span span[DEMO_WINDOWS], frame;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signo)
{
    stopped = signo;
}

/* The counters as they are. */
static struct demo_mark mark(const struct demo *d, ns_t now)
{
    const struct demo_flow *f = &d->score->flow[atomic_load(&d->score->run)];
    struct demo_mark m = {.at = now, .bytes = atomic_load(&f->received)};

    for (size_t i = 0; i < DEMO_LINKS; i++)
        m.carried[i] = demo_stage_carried(&d->stage, i);
    return m;
}

/* Begin a window of about `length`. */
static void enter(struct demo *d, enum demo_window w, ns_t length, ns_t now)
{
    if (d->drawn && d->tty)
        printf("\n");
    d->drawn = false;
    d->window = w;
    d->opens = now + ns_min(length / 2, 1200 * NS_PER_MS);
    d->frame.from = mark(d, now);
    atomic_store(&d->score->window, (int)w);
}

/* The window that belongs to what is going on. */
static enum demo_window window_of(const struct demo *d, int phase, ns_t now)
{
    int run = atomic_load(&d->score->run);
    ns_t start = atomic_load(&d->score->flow[run].start), each = d->traffic.each[run];

    if (phase == DEMO_IDLE)
        return WIN_IDLE;
    if (phase != DEMO_SENDING || start == 0)
        return WIN_BETWEEN;
    if (run != DEMO_BOTH)
        return run == DEMO_A ? WIN_A : WIN_B;
    if (now < start + each * CUT_FROM / 100)
        return WIN_BOTH;
    return now < start + each * CUT_TO / 100 ? WIN_CUT : WIN_BACK;
}

static ns_t length_of(const struct demo *d, enum demo_window w)
{
    ns_t both = d->traffic.each[DEMO_BOTH];

    switch (w) {
    case WIN_A:
    case WIN_B:
        return d->traffic.each[DEMO_A];
    case WIN_BOTH:
        return both * CUT_FROM / 100;
    case WIN_CUT:
        return both * (CUT_TO - CUT_FROM) / 100;
    case WIN_BACK:
        return both * (100 - CUT_TO) / 100;
    default:
        return 0;
    }
}

/* The links as phase and window want them. */
static void set_links(struct demo *d, int phase, ns_t now)
{
    int run = atomic_load(&d->score->run);
    bool apart = phase == DEMO_READY || phase == DEMO_SENDING;
    enum demo_wire wire[DEMO_LINKS] = {DEMO_WHOLE, DEMO_WHOLE};

    if (apart && run == DEMO_A)
        wire[1] = DEMO_UNPLUGGED;
    if (apart && run == DEMO_B && now - d->ready >= DEMO_SETTLE / 2) /* first the other comes */
        wire[0] = DEMO_UNPLUGGED;
    if (d->window == WIN_CUT)
        wire[0] = DEMO_CUT;
    for (size_t i = 0; i < DEMO_LINKS; i++)
        if (wire[i] != d->wire[i])
            demo_stage_wire(&d->stage, i, d->wire[i] = wire[i]);
}

/* Measure and draw. */
static void look(struct demo *d, ns_t now)
{
    struct demo_span *span = &d->span[d->window];
    struct demo_mark m = mark(d, now);

    if (d->window >= WIN_IDLE)
        return;
    if (now >= d->opens) {
        if (!span->from.at)
            span->from = m;
        span->to = m;
    }
    if (now - d->frame.from.at < (d->tty ? FRAME : NS_PER_S))
        return;
    d->frame.to = m;
    demo_show_line(&d->stage, d->window, &d->frame, d->tty);
    d->frame.from = m;
    d->drawn = true;
}

/* Follow the traffic until it ends or a signal comes. */
static void watch(struct demo *d)
{
    int last = DEMO_CONNECTING;

    for (;;) {
        int phase = atomic_load(&d->score->phase);
        ns_t now = ring_clock();
        enum demo_window w = window_of(d, phase, now);

        if (stopped || phase == DEMO_DONE || phase == DEMO_FAILED)
            break;
        if (demo_stage_client_gone(&d->stage)) {
            snprintf(d->score->why, sizeof(d->score->why), "the client ended early");
            atomic_store(&d->score->phase, DEMO_FAILED);
            break;
        }
        if (phase == DEMO_IDLE && last != DEMO_IDLE) {
            printf("tunnel is up; measuring the idle round trip ...\n");
            fflush(stdout);
        }
        if (w != d->window)
            enter(d, w, length_of(d, w), now);
        if (phase == DEMO_READY && last != DEMO_READY)
            d->ready = now;
        set_links(d, phase, now);
        last = phase;
        look(d, now);
        usleep(LOOK);
    }
    if (d->tty && d->drawn)
        printf("\n");
}

static int summary(const struct demo *d)
{
    const struct demo_score *s = d->score;

    if (stopped) {
        printf("\nInterrupted.\n");
        return 128 + stopped;
    }
    if (atomic_load(&s->phase) != DEMO_DONE) {
        printf("\nThe demo failed: %s.\nRun it again with --log-level debug to see more.\n",
               s->why[0] ? s->why : "no reason given");
        return EXIT_INTERNAL;
    }
    demo_show_summary(&d->stage, d->span);
    return EXIT_OK;
}

static struct demo_score *score_new(void)
{
    void *p = mmap(NULL, sizeof(struct demo_score), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static int play(struct demo *d, const struct config *config, const struct log *log)
{
    char why[256] = "";
    int rc = demo_stage_build(&d->stage, config, log, &d->traffic, why, sizeof(why));

    if (rc) {
        LOG_AT(log, LOG_ERROR, "%s", why);
        if (rc == -ENOMEM)
            return EXIT_INTERNAL;
        printf("The demo needs to make network namespaces and TUN devices: run it as root, or\n"
               "allow them to ordinary users (see the line above).\n");
        return EXIT_PRIVILEGE;
    }
    demo_show_intro(&d->stage);
    watch(d);
    return summary(d);
}

int demo_run(const struct config *config, const struct log *log)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct demo d = {.tty = isatty(STDOUT_FILENO), .window = WIN_BETWEEN};
    ns_t time = (ns_t)config->demo_seconds * NS_PER_S;
    int status;

    d.score = score_new();
    if (!d.score) {
        LOG_AT(log, LOG_ERROR, "no memory for the demo");
        return EXIT_INTERNAL;
    }
    d.traffic = (struct demo_traffic){.far_ip = FAR_IN,
                                      .tun = DEMO_TUN,
                                      .port = TRAFFIC,
                                      .each = {time / 5, time / 5, time * 3 / 5},
                                      .patience = PATIENCE,
                                      .score = d.score};
    atomic_store(&d.score->window, WIN_BETWEEN);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    status = play(&d, config, log);
    demo_stage_clear(&d.stage);
    munmap(d.score, sizeof(*d.score));
    return status;
}
