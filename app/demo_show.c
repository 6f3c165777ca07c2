#include "app/demo_show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAR 20

/* ---- figures ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Of `p`, in milliseconds; false if there are none. */
static bool quantile(const struct demo_pings *p, double q, double *ms)
{
    uint32_t n = atomic_load(&p->n), *copy = n ? malloc(n * sizeof(*copy)) : NULL;

    if (!copy)
        return false;
    memcpy(copy, p->rtt_us, n * sizeof(*copy));
    qsort(copy, n, sizeof(*copy), by_value);
    *ms = copy[(uint32_t)((n - 1) * q)] / 1e3;
    free(copy);
    return true;
}

static double mbps(const struct demo_span *s)
{
    return s->to.at > s->from.at
               ? (double)(s->to.bytes - s->from.bytes) * 8e3 / (double)(s->to.at - s->from.at)
               : 0;
}

/* The part of all bytes that `link` carried, 0 to 1. */
static double share(const struct demo_span *s, size_t link)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < DEMO_LINKS; i++)
        sum += s->to.carried[i] - s->from.carried[i];
    return sum ? (double)(s->to.carried[link] - s->from.carried[link]) / (double)sum : 0;
}

static double link_mbps(const struct demo_stage *s, size_t link)
{
    return (double)s->shape[link].rate_bps / 1e6;
}

/* What the links carry that are there in a window. */
static double possible(const struct demo_stage *s, enum demo_window w)
{
    if (w == WIN_A)
        return link_mbps(s, 0);
    if (w == WIN_B || w == WIN_CUT)
        return link_mbps(s, 1);
    return link_mbps(s, 0) + link_mbps(s, 1);
}

/* ---- lines ------------------------------------------------------------------------------ */

const char *demo_show_name(enum demo_window w)
{
    static const char *const name[DEMO_WINDOWS] = {
        [WIN_A] = "A alone",    [WIN_B] = "B alone",   [WIN_BOTH] = "A + B",
        [WIN_CUT] = "A is cut", [WIN_BACK] = "A back", [WIN_IDLE] = "idle",
        [WIN_BETWEEN] = ""};

    return name[w];
}

void demo_show_intro(const struct demo_stage *s)
{
    printf(
        "mqvpn demo: two hosts in private network namespaces, joined by two emulated links:\n"
        "A of %.4g Mbit/s and %d ms each way, B of %.4g Mbit/s and %d ms. A server on one, a\n"
        "client on the other, and TCP through the tunnel for %d s: one flow over A alone, one\n"
        "over B alone, one over both while A is cut and comes back. Nothing on this machine "
        "is\n"
        "changed.\n\n",
        link_mbps(s, 0), s->cfg->demo_delay_ms, link_mbps(s, 1), 2 * s->cfg->demo_delay_ms,
        s->cfg->demo_seconds);
    fflush(stdout);
}

/* What each link carries of what both can, as letters. */
static void bar(const struct demo_stage *s, const struct demo_span *span, char out[BAR + 1])
{
    double full = mbps(span) / possible(s, WIN_BOTH) * BAR;
    int n = full > BAR ? BAR : (int)(full + 0.5), a = (int)(n * share(span, 0) + 0.5);

    memset(out, '.', BAR);
    memset(out, 'A', (size_t)a);
    memset(out + a, 'B', (size_t)(n - a));
    out[BAR] = 0;
}

void demo_show_line(const struct demo_stage *s, enum demo_window w,
                    const struct demo_span *span, bool tty)
{
    char b[BAR + 1];

    bar(s, span, b);
    printf("%s%-8s [%s] %5.1f Mbit/s  A %3.0f %%  B %3.0f %%  ping %5.1f ms%s", tty ? "\r" : "",
           demo_show_name(w), b, mbps(span), 100 * share(span, 0), 100 * share(span, 1),
           atomic_load(&s->traffic->score->last_rtt_us) / 1e3, tty ? "" : "\n");
    fflush(stdout);
}

/* ---- the table -------------------------------------------------------------------------- */

static void row(const struct demo_stage *s, enum demo_window w, const struct demo_span *span)
{
    const struct demo_pings *p = &s->traffic->score->pings[w];
    double median, high;

    printf("  %-9s", demo_show_name(w));
    if (span->to.at > span->from.at)
        printf(" %7.1f %8.0f %% %8.0f %% %5.0f %%", mbps(span),
               100 * mbps(span) / possible(s, w), 100 * share(span, 0), 100 * share(span, 1));
    else
        printf(" %7s %10s %10s %7s", "-", "-", "-", "-");
    if (quantile(p, 0.5, &median) && quantile(p, 0.99, &high))
        printf(" %10.1f %8.1f\n", median, high);
    else
        printf(" %10s %8s\n", "-", "-");
}

void demo_show_summary(const struct demo_stage *s, const struct demo_span span[WIN_IDLE])
{
    const struct demo_score *score = s->traffic->score;
    double a = mbps(&span[WIN_A]), b = mbps(&span[WIN_B]), best = a > b ? a : b, idle;
    uint64_t bytes = 0;

    printf("\n  one TCP flow\n  over       Mbit/s  of links     by A    by B    ping ms  99 %% "
           "of them\n");
    for (enum demo_window w = WIN_A; w < WIN_IDLE; w++)
        row(s, w, &span[w]);
    for (int i = 0; i < DEMO_RUNS; i++)
        bytes += atomic_load(&score->flow[i].received);
    if (best > 0 && mbps(&span[WIN_BOTH]) > 0)
        printf(
            "\n  both together: %.2f times the better one alone; while A went and came back, "
            "the\n  flow stood still for %.0f ms at most\n",
            mbps(&span[WIN_BOTH]) / best, (double)atomic_load(&score->pause) / 1e6);
    printf("  %.1f MB in all, every byte intact; %u of %u pings answered", (double)bytes / 1e6,
           atomic_load(&score->pings_answered), atomic_load(&score->pings_sent));
    if (quantile(&score->pings[WIN_IDLE], 0.5, &idle))
        printf(", in %.1f ms when idle", idle);
    printf("\n\nNothing is left behind: the two hosts existed only in memory.\n"
           "To connect two real hosts: mqvpn server --nat, then the line that it prints.\n");
}
