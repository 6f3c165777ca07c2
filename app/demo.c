/*
 * Theory of operation
 *
 *        near host (namespace)            this process              far host (namespace)
 *   demo_near  ->  mqvpn0                                          mqvpn0  ->  demo_far
 *                  mqvpn client -> wan0 ==[ wan: rate, delay ]== wan0 -> mqvpn server
 *
 * Each host has one TUN device `wan0` whose other end this process holds; a child carries
 * packets between the two at the rate and delay of the emulated link (app/wan.h). Client
 * and server are this same program, run by child processes inside the namespaces, with a
 * certificate and a key that live in memory alone. The kernel's own TCP runs above.
 *
 * Namespaces without names and children that die with their parent: whatever ends this
 * process ends the demo, and nothing remains.
 */
#include "app/demo.h"

#include "app/auth.h"
#include "app/client.h"
#include "app/demo_traffic.h"
#include "app/exit.h"
#include "app/ns.h"
#include "app/random.h"
#include "app/ring.h"
#include "app/server.h"
#include "app/wan.h"
#include "quic/cert.h"
#include "tun/netcfg.h"
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAR_WAN  "198.18.0.1/24" /* RFC 2544: for tests between hosts */
#define NEAR_WAN "198.18.0.2/24"
#define FAR_IN   "10.99.0.1"
#define SUBNET   "10.99.0.0/24"
#define PORT     443
#define TRAFFIC  5001
#define PATIENCE (15 * NS_PER_S)
#define FRAME    (200 * NS_PER_MS) /* of the live display */

enum host { FAR, NEAR, HOSTS };
enum child { C_WAN, C_SERVER, C_CLIENT, C_FAR, C_NEAR, CHILDREN };

struct demo {
    const struct config *cfg;
    const struct log *log;
    struct config side[HOSTS];
    struct ns ns[HOSTS];
    int wan_fd[HOSTS];
    struct wan *wan;
    struct ns_child child[CHILDREN];
    struct demo_score *score;
    struct demo_traffic traffic;
    char key[64], pin[TLS_PIN_TEXT], cert_path[64], key_path[64], server[64];
    char *pin_list[1];
    int memfd[2];
};

static volatile sig_atomic_t stopped;

static void on_signal(int signo)
{
    stopped = signo;
}

/* ---- the stage ------------------------------------------------------------------------- */

/* Opens wan0 inside a namespace, with its address, up. */
static int open_wan(void *arg, char *why, size_t why_size)
{
    struct tun_cfg cfg = {.name = "wan0", .mtu_bytes = 1500};
    struct netcfg *nc = NULL;
    struct tun_prefix p;
    struct tun tun;
    int rc = tun_open(&tun, &cfg, why, why_size);

    if (rc)
        return rc;
    tun_prefix_parse(arg, &p);
    /* The change list is left alone: all of it goes with the namespace. */
    if ((rc = netcfg_new(&nc, NULL, why, why_size)) ||
        (rc = netcfg_addr_add(nc, tun.ifindex, &p, NULL, why, why_size)) ||
        (rc = tun_up(&tun, why, why_size)))
        return rc;
    return tun.fd;
}

static int run_wan(void *arg, int lifeline)
{
    return wan_run(arg, lifeline) ? 1 : 0;
}

static int run_server(void *arg, int lifeline)
{
    struct demo *d = arg;

    (void)lifeline;
    return server_run(&d->side[FAR], d->log);
}

static int run_client(void *arg, int lifeline)
{
    struct demo *d = arg;

    (void)lifeline;
    return client_run(&d->side[NEAR], d->log);
}

/* A file in memory that the server can open by a path. */
static int in_memory(const struct tls_pem *pem, char path[64])
{
    int fd = memfd_create("mqvpn-demo", MFD_CLOEXEC);

    if (fd < 0 || write(fd, pem->p, pem->n) != (ssize_t)pem->n)
        return -1;
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static int make_secrets(struct demo *d)
{
    static const char *const names[] = {"demo.mqvpn"};
    struct rng rng = random_system();
    struct tls_pem cert = {0}, key = {0};
    uint8_t pin[TLS_PIN];
    int rc = -1;

    auth_make_key(&rng, d->key);
    if (tls_make_cert(names, 1, 1, (int64_t)time(NULL), &cert, &key) == 0 &&
        tls_spki_pin(tls_pem_span(&cert), pin) == 0) {
        tls_pin_text(pin, d->pin);
        d->memfd[0] = in_memory(&cert, d->cert_path);
        d->memfd[1] = in_memory(&key, d->key_path);
        rc = d->memfd[0] < 0 || d->memfd[1] < 0 ? -1 : 0;
    }
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return rc;
}

/* What client and server would have been told on their command lines. */
static void make_configs(struct demo *d)
{
    static char tun_name[] = "mqvpn0", subnet[] = SUBNET, none[] = "none";
    static char listen[] = "198.18.0.1:443";
    struct config common = {.log_level = d->cfg->log_level,
                            .tun_name = tun_name,
                            .io = d->cfg->io,
                            .cc = d->cfg->cc,
                            .auth_key = d->key,
                            .manage_routes = true,
                            .max_clients = 8};

    d->side[FAR] = common;
    d->side[FAR].mode = CONFIG_SERVER;
    d->side[FAR].listen = listen;
    d->side[FAR].subnet = subnet;
    d->side[FAR].subnet6 = none;
    d->side[FAR].cert_file = d->cert_path;
    d->side[FAR].key_file = d->key_path;
    d->side[NEAR] = common;
    d->side[NEAR].mode = CONFIG_CLIENT;
    snprintf(d->server, sizeof(d->server), "198.18.0.1:%d", PORT);
    d->side[NEAR].server = d->server;
    d->side[NEAR].reconnect = true;
    d->pin_list[0] = d->pin;
    d->side[NEAR].pins = (struct config_list){.item = d->pin_list, .n = 1};
}

static int build_link(struct demo *d, char *why, size_t why_size)
{
    static char far_wan[] = FAR_WAN, near_wan[] = NEAR_WAN;
    struct wan_shape shape = {.rate_bps = (uint64_t)d->cfg->demo_rate_mbps * 1000000,
                              .delay = (ns_t)d->cfg->demo_delay_ms * NS_PER_MS,
                              .queue_time = 50 * NS_PER_MS};
    struct wan_link link = {.shape = {shape, shape}};
    char *address[HOSTS] = {far_wan, near_wan};
    int rc;

    for (int i = 0; i < HOSTS; i++) {
        if ((rc = ns_new(&d->ns[i], why, why_size)) ||
            (rc = ns_open(&d->ns[i], open_wan, address[i], &d->wan_fd[i], why, why_size)))
            return rc;
        link.fd[i] = d->wan_fd[i];
    }
    if (wan_new(&link, 1, 1, &d->wan)) {
        snprintf(why, why_size, "can't make the emulated link");
        return -ENOMEM;
    }
    return 0;
}

static int start(struct demo *d, char *why, size_t why_size)
{
    const struct {
        struct ns *ns;
        ns_main_fn *fn;
        void *arg;
    } cast[CHILDREN] = {
        [C_WAN] = {NULL, run_wan, d->wan},
        [C_SERVER] = {&d->ns[FAR], run_server, d},
        [C_CLIENT] = {&d->ns[NEAR], run_client, d},
        [C_FAR] = {&d->ns[FAR], demo_far, &d->traffic},
        [C_NEAR] = {&d->ns[NEAR], demo_near, &d->traffic},
    };

    for (int i = 0; i < CHILDREN; i++) {
        int rc = ns_run(cast[i].ns, cast[i].fn, cast[i].arg, &d->child[i], why, why_size);
        if (rc)
            return rc;
        if (i == C_SERVER)
            usleep(100000); /* so that the client's first try meets it */
    }
    return 0;
}

static void clear_stage(struct demo *d)
{
    /* Client and server take their leave; the rest is simply ended. */
    if (d->child[C_CLIENT].pid > 0)
        kill(d->child[C_CLIENT].pid, SIGTERM);
    if (d->child[C_SERVER].pid > 0)
        kill(d->child[C_SERVER].pid, SIGTERM);
    for (int i = CHILDREN; i-- > 0;)
        ns_child_end(&d->child[i], i == C_NEAR ? 0 : NS_PER_S);
    if (d->wan)
        wan_del(d->wan);
    for (int i = 0; i < HOSTS; i++) {
        if (d->wan_fd[i] >= 0)
            close(d->wan_fd[i]);
        ns_del(&d->ns[i]);
        if (d->memfd[i] >= 0)
            close(d->memfd[i]);
    }
    if (d->score)
        munmap(d->score, sizeof(*d->score));
}

/* ---- what a person sees ---------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double quantile_ms(const struct demo_pings *p, double q)
{
    uint32_t n = atomic_load(&p->n), *copy;
    double v;

    if (n == 0)
        return 0;
    copy = malloc(n * sizeof(*copy));
    if (!copy)
        return 0;
    memcpy(copy, p->rtt_us, n * sizeof(*copy));
    qsort(copy, n, sizeof(*copy), by_value);
    v = copy[(uint32_t)((n - 1) * q)] / 1e3;
    free(copy);
    return v;
}

static double mbps(uint64_t bytes, ns_t time)
{
    return time ? (double)bytes * 8e3 / (double)time : 0;
}

static void bar(double share, char out[41])
{
    int full = share < 0 ? 0 : share > 1 ? 40 : (int)(share * 40);

    memset(out, '.', 40);
    memset(out, '#', (size_t)full);
    out[40] = 0;
}

/* One line of the live display. */
static void show(const struct demo *d, int phase, uint64_t bytes, ns_t time, bool tty)
{
    double rate = mbps(bytes, time);
    char b[41];

    bar(rate / d->cfg->demo_rate_mbps, b);
    printf("%s  %-6s [%s] %6.1f Mbit/s   ping %6.1f ms%s", tty ? "\r" : "",
           phase == DEMO_UP ? "up" : "down", b, rate, atomic_load(&d->score->last_rtt_us) / 1e3,
           tty ? "" : "\n");
    fflush(stdout);
}

/* Follow the traffic until it ends or a signal comes. */
static void watch(struct demo *d)
{
    bool tty = isatty(STDOUT_FILENO);
    uint64_t before = 0;
    ns_t then = ring_clock(), shown = 0;
    int last = DEMO_CONNECTING;

    for (;;) {
        int phase = atomic_load(&d->score->phase);
        ns_t now = ring_clock();
        if (stopped || phase == DEMO_DONE || phase == DEMO_FAILED)
            break;
        if (waitpid(d->child[C_CLIENT].pid, NULL, WNOHANG) > 0) {
            d->child[C_CLIENT].pid = 0;
            snprintf(d->score->why, sizeof(d->score->why), "the client ended early");
            atomic_store(&d->score->phase, DEMO_FAILED);
            break;
        }
        if (phase != last) {
            if (phase == DEMO_IDLE)
                printf("  tunnel is up; measuring the idle round trip ...\n");
            else if (tty && last == DEMO_UP)
                printf("\n");
            fflush(stdout);
            before = 0;
            then = now;
            last = phase;
        }
        if (phase == DEMO_UP || phase == DEMO_DOWN) {
            uint64_t bytes = atomic_load(&d->score->flow[phase == DEMO_DOWN].received);
            if (now - then >= (tty ? FRAME : NS_PER_S) && bytes >= before) {
                show(d, phase, bytes - before, now - then, tty);
                before = bytes;
                then = shown = now;
            }
        }
        usleep(20000);
    }
    if (tty && shown)
        printf("\n");
}

static int summary(const struct demo *d)
{
    static const char *const name[2] = {"up", "down"};
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
    printf("\n  one TCP flow through the tunnel, link %d Mbit/s, %d ms each way\n",
           d->cfg->demo_rate_mbps, d->cfg->demo_delay_ms);
    for (int i = 0; i < 2; i++) {
        const struct demo_flow *f = &s->flow[i];
        double rate = mbps(f->received, f->end - f->start);
        printf("    %-5s %8.1f MB, every byte intact  %7.1f Mbit/s  (%.0f %% of the link)\n",
               name[i], (double)f->received / 1e6, rate, rate * 100 / d->cfg->demo_rate_mbps);
    }
    printf("    ping  idle %.1f ms (median), under load %.1f ms (median), %.1f ms (99 %%)\n",
           quantile_ms(&s->idle, 0.5), quantile_ms(&s->loaded, 0.5),
           quantile_ms(&s->loaded, 0.99));
    printf("\nNothing is left behind: the two hosts existed only in memory.\n"
           "To connect two real hosts: mqvpn server --nat, then the line that it prints.\n");
    return EXIT_OK;
}

/* ---- all of it ------------------------------------------------------------------------- */

static int score_new(struct demo *d)
{
    void *p = mmap(NULL, sizeof(*d->score), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                   -1, 0);

    d->score = p == MAP_FAILED ? NULL : p;
    return d->score ? 0 : -1;
}

int demo_run(const struct config *config, const struct log *log)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct demo d = {.cfg = config,
                     .log = log,
                     .ns = {NS_NONE, NS_NONE},
                     .wan_fd = {-1, -1},
                     .memfd = {-1, -1}};
    char why[256] = "";
    int status;

    printf(
        "mqvpn demo: two hosts in private network namespaces, an emulated link of %d Mbit/s\n"
        "and %d ms each way, a server on one, a client on the other, and TCP through the\n"
        "tunnel for %d s. Nothing on this machine is changed.\n\n",
        config->demo_rate_mbps, config->demo_delay_ms, config->demo_seconds);
    fflush(stdout);
    if (score_new(&d) || make_secrets(&d)) {
        LOG_AT(log, LOG_ERROR, "no memory for the demo, or no certificate could be made");
        status = EXIT_INTERNAL;
        goto out;
    }
    make_configs(&d);
    d.traffic = (struct demo_traffic){.far_ip = FAR_IN,
                                      .port = TRAFFIC,
                                      .each = (ns_t)config->demo_seconds * NS_PER_S / 2,
                                      .patience = PATIENCE,
                                      .score = d.score};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    if (build_link(&d, why, sizeof(why)) || start(&d, why, sizeof(why))) {
        LOG_AT(log, LOG_ERROR, "%s", why);
        printf("The demo needs to make network namespaces and TUN devices: run it as root, or\n"
               "allow them to ordinary users (see the line above).\n");
        status = EXIT_PRIVILEGE;
        goto out;
    }
    watch(&d);
    status = summary(&d);
out:
    clear_stage(&d);
    return status;
}
