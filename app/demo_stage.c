#include "app/demo_stage.h"

#include "app/auth.h"
#include "app/client.h"
#include "app/random.h"
#include "app/server.h"
#include "app/sysctl.h"
#include "tun/netcfg.h"
#include "tun/tun.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Networks for tests between hosts (RFC 2544). */
static const char *const address[DEMO_LINKS][DEMO_HOSTS] = {
    {"198.18.0.1/24", "198.18.0.2/24"},
    {"198.18.1.1/24", "198.18.1.2/24"},
};
static const char *const gateway[DEMO_LINKS] = {"198.18.0.1", "198.18.1.1"};

#define SUBNET "10.99.0.0/24"
#define SERVER "198.18.0.1:443" /* reached by the second link through its default route */

/* ---- secrets and configurations --------------------------------------------------------- */

/* A file in memory that the server can open by a path. */
static int in_memory(const struct tls_pem *pem, char path[64])
{
    int fd = memfd_create("mqvpn-demo", MFD_CLOEXEC);

    if (fd < 0 || write(fd, pem->p, pem->n) != (ssize_t)pem->n)
        return -1;
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static int make_secrets(struct demo_stage *s)
{
    static const char *const names[] = {"demo.mqvpn"};
    struct rng rng = random_system();
    struct tls_pem cert = {0}, key = {0};
    uint8_t pin[TLS_PIN];
    int rc = -1;

    auth_make_key(&rng, s->key);
    if (tls_make_cert(names, 1, 1, (int64_t)time(NULL), &cert, &key) == 0 &&
        tls_spki_pin(tls_pem_span(&cert), pin) == 0) {
        tls_pin_text(pin, s->pin);
        s->memfd[0] = in_memory(&cert, s->cert_path);
        s->memfd[1] = in_memory(&key, s->key_path);
        rc = s->memfd[0] < 0 || s->memfd[1] < 0 ? -1 : 0;
    }
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return rc;
}

/* What client and server would have been told on their command lines. */
static void make_configs(struct demo_stage *s)
{
    static char tun_name[] = DEMO_TUN, subnet[] = SUBNET, none[] = "none", listen[] = ":443";
    struct config common = {.log_level = s->cfg->log_level,
                            .tun_name = tun_name,
                            .io = s->cfg->io,
                            .cc = s->cfg->cc,
                            .multipath = s->cfg->multipath,
                            .scheduler = s->cfg->scheduler,
                            .offload = s->cfg->offload,
                            .auth_key = s->key,
                            .manage_routes = true,
                            .max_clients = 8,
                            .grace_s = 60};

    s->side[DEMO_FAR] = common;
    s->side[DEMO_FAR].mode = CONFIG_SERVER;
    s->side[DEMO_FAR].listen = listen;
    s->side[DEMO_FAR].subnet = subnet;
    s->side[DEMO_FAR].subnet6 = none;
    s->side[DEMO_FAR].cert_file = s->cert_path;
    s->side[DEMO_FAR].key_file = s->key_path;
    s->side[DEMO_NEAR] = common;
    s->side[DEMO_NEAR].mode = CONFIG_CLIENT;
    snprintf(s->server, sizeof(s->server), SERVER);
    s->side[DEMO_NEAR].server = s->server;
    s->side[DEMO_NEAR].reconnect = true;
    s->pin_list[0] = s->pin;
    s->side[DEMO_NEAR].pins = (struct config_list){.item = s->pin_list, .n = 1};
}

/* ---- links ------------------------------------------------------------------------------ */

struct opening {
    size_t link;
    enum demo_host host;
};

/* A default route by each link of the near host: so the client takes them for ways out. */
static int add_default(struct netcfg *nc, size_t link, char *why, size_t why_size)
{
    struct netcfg_route r = {.metric = 100 + 100 * (uint32_t)link};

    tun_prefix_parse("0.0.0.0/0", &r.dst);
    tun_addr_parse(gateway[link], &r.gateway);
    return netcfg_route_add(nc, &r, why, why_size);
}

/* Opens a wan device inside a namespace, with its address, up. */
static int open_wan(void *arg, char *why, size_t why_size)
{
    const struct opening *o = arg;
    char name[IFNAMSIZ];
    struct tun_cfg cfg = {.name = name, .mtu_bytes = 1500};
    struct sysctl_change loose = {0};
    struct netcfg *nc = NULL;
    struct tun_prefix p;
    struct tun tun;
    int rc;

    snprintf(name, sizeof(name), "wan%zu", o->link);
    if ((rc = tun_open(&tun, &cfg, why, why_size)))
        return rc;
    tun_prefix_parse(address[o->link][o->host], &p);
    /* The change list is left alone: all of it goes with the namespace. */
    if ((rc = netcfg_new(&nc, NULL, why, why_size)) ||
        (rc = netcfg_addr_add(nc, tun.ifindex, &p, NULL, why, why_size)) ||
        (rc = tun_up(&tun, why, why_size)))
        return rc;
    if (o->host == DEMO_NEAR && (rc = add_default(nc, o->link, why, why_size)))
        return rc;
    /*
     * The server's packets come by a link that is not the shortest way to it (RFC 3704 2.4).
     * Where this can't be set, it mostly need not be.
     */
    if (o->host == DEMO_NEAR)
        sysctl_set(NULL, "net/ipv4/conf/all/rp_filter", "2", &loose, why, why_size);
    return tun.fd;
}

static int build_links(struct demo_stage *s, char *why, size_t why_size)
{
    struct wan_link link[DEMO_LINKS];
    int rc;

    for (int h = 0; h < DEMO_HOSTS; h++)
        if ((rc = ns_new(&s->ns[h], why, why_size)))
            return rc;
    for (size_t i = 0; i < DEMO_LINKS; i++) {
        s->shape[i] = (struct wan_shape){
            .rate_bps = (uint64_t)s->cfg->demo_rate_mbps * 1000000 >> i,
            .delay = (ns_t)s->cfg->demo_delay_ms * NS_PER_MS << i,
            .queue_time = 50 * NS_PER_MS,
        };
        link[i].shape[0] = link[i].shape[1] = s->shape[i];
        for (int h = 0; h < DEMO_HOSTS; h++) {
            struct opening o = {i, (enum demo_host)h};

            if ((rc = ns_open(&s->ns[h], open_wan, &o, &s->wan_fd[i][h], why, why_size)))
                return rc;
            link[i].fd[h] = s->wan_fd[i][h];
        }
    }
    if (wan_new(link, DEMO_LINKS, 1, &s->wan) == 0)
        return 0;
    snprintf(why, why_size, "can't make the emulated links");
    return -ENOMEM;
}

void demo_stage_wire(struct demo_stage *s, size_t link, enum demo_wire wire)
{
    struct wan_shape shape = s->shape[link];
    int carrier = wire != DEMO_UNPLUGGED;

    ioctl(s->wan_fd[link][DEMO_NEAR], TUNSETCARRIER, &carrier);
    shape.black_hole = wire != DEMO_WHOLE;
    for (unsigned dir = 0; dir < 2; dir++)
        wan_set(s->wan, link, dir, &shape);
}

uint64_t demo_stage_carried(const struct demo_stage *s, size_t link)
{
    struct wan_stats stats;

    wan_count(s->wan, link, DEMO_FAR, &stats); /* the direction that begins at the far host */
    return stats.out_bytes;
}

/* ---- who acts --------------------------------------------------------------------------- */

static int run_wan(void *arg, int lifeline)
{
    return wan_run(arg, lifeline) ? 1 : 0;
}

static int run_server(void *arg, int lifeline)
{
    struct demo_stage *s = arg;

    (void)lifeline;
    return server_run(&s->side[DEMO_FAR], s->log);
}

static int run_client(void *arg, int lifeline)
{
    struct demo_stage *s = arg;

    (void)lifeline;
    return client_run(&s->side[DEMO_NEAR], s->log);
}

static int start(struct demo_stage *s, char *why, size_t why_size)
{
    void *traffic = (void *)(uintptr_t)s->traffic;
    const struct {
        struct ns *ns;
        ns_main_fn *fn;
        void *arg;
    } cast[DEMO_CHILDREN] = {
        [DEMO_WAN] = {NULL, run_wan, s->wan},
        [DEMO_SERVER] = {&s->ns[DEMO_FAR], run_server, s},
        [DEMO_CLIENT] = {&s->ns[DEMO_NEAR], run_client, s},
        [DEMO_ECHO] = {&s->ns[DEMO_FAR], demo_far, traffic},
        [DEMO_USER] = {&s->ns[DEMO_NEAR], demo_near, traffic},
    };

    for (int i = 0; i < DEMO_CHILDREN; i++) {
        int rc = ns_run(cast[i].ns, cast[i].fn, cast[i].arg, &s->child[i], why, why_size);
        if (rc)
            return rc;
        if (i == DEMO_SERVER)
            usleep(100000); /* so that the client's first try meets it */
    }
    return 0;
}

int demo_stage_build(struct demo_stage *s, const struct config *cfg, const struct log *log,
                     const struct demo_traffic *traffic, char *why, size_t why_size)
{
    int rc;

    *s = (struct demo_stage){.cfg = cfg,
                             .log = log,
                             .traffic = traffic,
                             .ns = {NS_NONE, NS_NONE},
                             .wan_fd = {{-1, -1}, {-1, -1}},
                             .memfd = {-1, -1}};
    if (make_secrets(s)) {
        snprintf(why, why_size, "no memory, or no certificate could be made");
        return -ENOMEM;
    }
    make_configs(s);
    rc = build_links(s, why, why_size);
    return rc ? rc : start(s, why, why_size);
}

bool demo_stage_client_gone(struct demo_stage *s)
{
    if (s->child[DEMO_CLIENT].pid <= 0 ||
        waitpid(s->child[DEMO_CLIENT].pid, NULL, WNOHANG) <= 0)
        return false;
    s->child[DEMO_CLIENT].pid = 0;
    return true;
}

void demo_stage_clear(struct demo_stage *s)
{
    /* Client and server take their leave; the rest is simply ended. */
    if (s->child[DEMO_CLIENT].pid > 0)
        kill(s->child[DEMO_CLIENT].pid, SIGTERM);
    if (s->child[DEMO_SERVER].pid > 0)
        kill(s->child[DEMO_SERVER].pid, SIGTERM);
    for (int i = DEMO_CHILDREN; i-- > 0;)
        ns_child_end(&s->child[i], i == DEMO_USER ? 0 : NS_PER_S);
    if (s->wan)
        wan_del(s->wan);
    for (int h = 0; h < DEMO_HOSTS; h++) {
        for (size_t i = 0; i < DEMO_LINKS; i++)
            if (s->wan_fd[i][h] >= 0)
                close(s->wan_fd[i][h]);
        ns_del(&s->ns[h]);
        if (s->memfd[h] >= 0)
            close(s->memfd[h]);
    }
}
