#include "app/status_show.h"

#include "app/control.h"
#include "app/exit.h"
#include "app/json_scan.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_US 1000000 /* between two questions, for the rates */
#define ANSWER_MS 5000

static volatile sig_atomic_t stopped;

static void on_signal(int signo)
{
    stopped = signo;
}

/* ---- for a person ---- */

/* Never negative, nor longer than its place: what is beyond `most` is `most`. */
static double number(const char *object, const char *key, double most)
{
    double v = json_scan_number(json_scan_member(object, key));

    return v > most ? most : v > 0 ? v : 0;
}

static const char *text(const char *object, const char *key, char *out, size_t size)
{
    return json_scan_text(json_scan_member(object, key), out, size);
}

/* "1.5 GB" of the unit "B"; "999", "12.3 k" where that is "" */
static const char *scaled(double v, const char *of, char out[16])
{
    static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
    size_t u = 0;

    while (v >= 999.5 && u + 1 < ARRAY_LEN(prefix)) {
        v /= 1000;
        u++;
    }
    if (v > 9999)
        v = 9999;
    snprintf(out, 16, u && v < 99.95 ? "%.1f%s%s%.1s" : "%.0f%s%s%.1s", v, u || *of ? " " : "",
             prefix[u], of);
    return out;
}

static const char *bytes(double v, char out[16])
{
    return scaled(v, "B", out);
}

static const char *count(double v, char out[16])
{
    return scaled(v, "", out);
}

/* "3 d 4 h", "5 min 2 s" */
static const char *duration(double ms, char out[32])
{
    unsigned long s = ms > 0 && ms < 1e14 ? (unsigned long)(ms / 1000) : 0;

    if (s >= 86400)
        snprintf(out, 32, "%lu d %lu h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, 32, "%lu h %lu min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, 32, "%lu min %lu s", s / 60, s % 60);
    else
        snprintf(out, 32, "%lu s", s);
    return out;
}

/* A number in a column of so many, or "-" where there is none. */
static void cell(FILE *to, const char *object, const char *key, double factor, int width,
                 int digits)
{
    const char *value = json_scan_member(object, key);
    double v = json_scan_number(value) * factor;
    char buf[32];

    if (!value || v < 0 || v > 1e7)
        snprintf(buf, sizeof(buf), "-");
    else
        snprintf(buf, sizeof(buf), "%.*f", v >= 9999.5 ? 0 : digits, v);
    fprintf(to, " %*.*s", width, width, buf);
}

static void show_path(FILE *to, const char *path)
{
    char name[16], state[12], local[40], remote[40], b[2][16];

    text(path, "interface", name, sizeof(name));
    fprintf(to, "  %-10.10s %-10.10s", name[0] ? name : "-",
            text(path, "state", state, sizeof(state)));
    cell(to, path, "rx_bps", 1e-6, 8, 2);
    cell(to, path, "tx_bps", 1e-6, 8, 2);
    cell(to, path, "share_pct", 1, 5, 0);
    cell(to, path, "rtt_ms", 1, 7, 1);
    cell(to, path, "rtt_min_ms", 1, 7, 1);
    cell(to, path, "jitter_ms", 1, 6, 1);
    cell(to, path, "loss_ppm", 1e-4, 5, 2);
    fprintf(to, "\n     %.30s > %.30s\n", text(path, "local", local, sizeof(local)),
            text(path, "remote", remote, sizeof(remote)));
    fprintf(to, "     MTU %.0f, ECN %s, window %s", number(path, "mtu_bytes", 99999),
            json_scan_true(json_scan_member(path, "ecn")) ? "yes" : "no",
            bytes(number(path, "cwnd_bytes", 1e18), b[0]));
    if (json_scan_member(path, "cap_bps"))
        fprintf(to, ", %sbit/s out at most", scaled(number(path, "cap_bps", 1e18), "", b[0]));
    fprintf(to, ", %s in, %s out\n", bytes(number(path, "rx_bytes", 1e18), b[0]),
            bytes(number(path, "tx_bytes", 1e18), b[1]));
}

static void show_peer(FILE *to, const char *peer)
{
    const char *queue = json_scan_member(peer, "queue"),
               *flows = json_scan_member(peer, "flows"),
               *numbered = json_scan_member(peer, "numbered"),
               *total = json_scan_member(peer, "total");
    const char *paths = json_scan_member(peer, "paths"), *p = NULL;
    char name[32], state[16], v4[48], v6[48], up[32], b[3][16];
    double drops = number(queue, "dropped_full", 1e11) + number(queue, "dropped_old", 1e11) +
                   number(queue, "dropped_too_big", 1e11);

    fprintf(to, "\n%.30s: %.14s", text(peer, "name", name, sizeof(name)),
            text(peer, "state", state, sizeof(state)));
    if (json_scan_member(peer, "uptime_ms"))
        fprintf(to, " for %s", duration(number(peer, "uptime_ms", 1e13), up));
    fprintf(to, "\n  %s %s, MTU %.0f\n", text(peer, "ipv4", v4, sizeof(v4)),
            text(peer, "ipv6", v6, sizeof(v6)), number(peer, "mtu_bytes", 99999));
    fprintf(to, "  %s in, %s out, %s dropped;", bytes(number(total, "rx_bytes", 1e18), b[0]),
            bytes(number(total, "tx_bytes", 1e18), b[1]), count(drops, b[2]));
    fprintf(to, " flows: %.0f prompt, %.0f bulk\n", number(flows, "prompt", 999),
            number(flows, "bulk", 999));
    fprintf(to, "  queue %s, wait %.1f ms, bulk %.1f;", bytes(number(queue, "bytes", 1e18), b[0]),
            number(queue, "prompt_ms", 9999), number(queue, "bulk_ms", 9999));
    fprintf(to, " CoDel %s drops, %s marks\n",
            count(number(queue, "dropped_codel", 1e18), b[0]),
            count(number(queue, "marked", 1e18), b[1]));
    if (number(numbered, "tx_packets", 1e18) + number(numbered, "rx_packets", 1e18) > 0) {
        fprintf(to, "  numbered: %s out, %s again;",
                count(number(numbered, "tx_packets", 1e18), b[0]),
                count(number(numbered, "tx_repairs", 1e18), b[1]));
        fprintf(to, " %s in, %s recovered,", count(number(numbered, "rx_packets", 1e18), b[0]),
                count(number(numbered, "rx_recovered", 1e18), b[1]));
        fprintf(to, " %s waited %.1f ms\n", count(number(numbered, "rx_waited", 1e18), b[0]),
                number(numbered, "wait_ms", 9999));
    }
    while ((p = json_scan_item(paths, p)))
        show_path(to, p);
}

static void show_metered(FILE *to, const char *links)
{
    const char *p = NULL;
    char name[20], b[2][16];

    while ((p = json_scan_item(links, p)))
        fprintf(to, "%.15s: %s of %s this month\n", text(p, "interface", name, sizeof(name)),
                bytes(number(p, "used_bytes", 1e18), b[0]),
                bytes(number(p, "month_bytes", 1e18), b[1]));
}

void status_show_text(FILE *to, const char *json)
{
    const char *tun = json_scan_member(json, "tun"), *peers = json_scan_member(json, "peers");
    const char *p = NULL;
    char role[16], name[20], state[16], server[48], v4[48], v6[48], up[32], b[16];
    size_t n = 0;

    while ((p = json_scan_item(peers, p)))
        n++;
    fprintf(to, "%.10s %.15s: %.14s, running for %s, memory %s\n",
            text(json, "role", role, sizeof(role)), text(tun, "name", name, sizeof(name)),
            text(json, "state", state, sizeof(state)),
            duration(number(json, "uptime_ms", 1e13), up),
            bytes(number(json, "memory_bytes", 1e18), b));
    if (json_scan_member(json, "server"))
        fprintf(to, "server %.70s\n", text(json, "server", server, sizeof(server)));
    fprintf(to, "addresses %.15s %.39s, MTU %.0f\n", text(tun, "ipv4", v4, sizeof(v4)),
            text(tun, "ipv6", v6, sizeof(v6)), number(tun, "mtu_bytes", 99999));
    show_metered(to, json_scan_member(json, "metered"));
    if (strcmp(role, "server") == 0)
        fprintf(to, "%zu client%s\n", n, n == 1 ? "" : "s");
    if (n)
        fprintf(to, "\n  %-10s %-10s %8s %8s %5s %7s %7s %6s %5s\n", "path", "state", "in Mb/s",
                "out Mb/s", "%", "RTT ms", "least", "+-", "loss%");
    while ((p = json_scan_item(peers, p)))
        show_peer(to, p);
}

/* ---- asking ---- */

/* The answer of a second question: the rates are those of the time between. */
static int ask_twice(int fd, char **answer)
{
    int rc = control_ask(fd, "status", ANSWER_MS, answer);

    if (rc)
        return rc;
    free(*answer);
    *answer = NULL;
    usleep(SAMPLE_US);
    return control_ask(fd, "status", ANSWER_MS, answer);
}

static void show(const struct config *c, const char *answer)
{
    if (c->watch && !c->json && isatty(STDOUT_FILENO))
        printf("\033[H\033[2J");
    if (c->json)
        printf("%s\n", answer);
    else
        status_show_text(stdout, answer);
    fflush(stdout);
}

int status_show_run(const struct config *c, const struct log *log)
{
    struct sigaction act = {.sa_handler = on_signal};
    char why[512] = "", *answer = NULL;
    int fd = control_connect(CONTROL_DIR, c->tun_named ? c->tun_name : NULL, why, sizeof(why));
    int rc;

    if (fd < 0) {
        LOG_AT(log, LOG_ERROR, "%s", why);
        return fd == -EACCES ? EXIT_PRIVILEGE : fd == -ENOTUNIQ ? EXIT_USAGE : EXIT_NO_ANSWER;
    }
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    rc = ask_twice(fd, &answer);
    while (rc == 0) {
        show(c, answer);
        free(answer);
        answer = NULL;
        if (!c->watch || stopped || ferror(stdout))
            break;
        usleep(SAMPLE_US);
        if (stopped)
            break;
        rc = control_ask(fd, "status", ANSWER_MS, &answer);
    }
    free(answer);
    close(fd);
    if (rc && !stopped) {
        LOG_AT(log, LOG_ERROR, "the running mqvpn does not answer: %s",
               rc == -ECONNRESET ? "it has ended, or takes no questions of this user"
                                 : strerror(-rc));
        return rc == -ECONNRESET ? EXIT_NO_ANSWER : EXIT_INTERNAL;
    }
    return EXIT_OK;
}
