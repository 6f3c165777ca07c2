/*
 * Theory of operation
 *
 * `rows` is the list of everything that can be set. A row names its long option,
 * its section and key in the INI file (those of the existing mqvpn programs where
 * they have one), its kind, and where in `struct config` the value lives. Reading
 * an option is one function for both sources, so that a value is checked by the
 * same code and complains with the same words wherever it came from.
 *
 * The file is read first and the command line second, whatever their order in
 * argv; a list set in both is the command line's alone.
 */
#include "app/config.h"

#include "app/exit.h"
#include "app/link_rules.h"
#include "quic/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PORT_DEFAULT 443

enum kind {
    K_STRING,
    K_LIST,
    K_TRUE,  /* the option sets true; the file's key says true or false */
    K_FALSE, /* the option sets false; the file's key has the positive sense */
    K_INT,
    K_WORD, /* one of `words`, stored as its index */
    K_MODE,
    K_REFUSED /* known to the existing mqvpn, not to this one: `help` says what to do */
};

enum check {
    C_NONE,
    C_CIDR,
    C_CIDR4,
    C_CIDR6,
    C_IP,
    C_HOSTPORT,
    C_IFNAME,
    C_LINK,
    C_USER,
    C_KEY
};

enum who { W_BOTH, W_CLIENT, W_SERVER, W_TOOLS };

struct row {
    const char *option;
    const char *section, *key; /* in the INI file, NULL: command line only */
    enum kind kind;
    size_t at; /* offset in struct config */
    const char *value;
    const char *help;
    enum who who;
    enum check check;
    int min, max;
    const char *words; /* separated by '|' */
};

#define AT(field) offsetof(struct config, field)

/* clang-format off */
static const struct row rows[] = {
    {"server", "Server", "Address", K_STRING, AT(server), "HOST[:PORT]",
     "the server to join (port 443 unless given)", W_CLIENT, C_HOSTPORT, 0, 0, NULL},
    {"tls-server-name", "Server", "ServerName", K_STRING, AT(server_name), "NAME",
     "name that the server's certificate must carry, if not HOST", W_CLIENT, C_NONE, 0, 0, NULL},
    {"ca", "Server", "CA", K_STRING, AT(ca_file), "FILE",
     "trust these certificate authorities (PEM) instead of the system's", W_CLIENT, C_NONE, 0, 0, NULL},
    {"pin", "Server", "Pin", K_LIST, AT(pins), "sha256/BASE64",
     "accept the server with this public key and no other; replaces the\n"
     "check of chain, name and expiry (repeatable, any one will do)", W_CLIENT, C_NONE, 0, 0, NULL},
    {"insecure", "Server", "Insecure", K_TRUE, AT(insecure), NULL,
     "accept ANY certificate: whoever sits between can read everything", W_CLIENT, C_NONE, 0, 0, NULL},
    {"path", "Multipath", "Path", K_LIST, AT(paths), "IFACE",
     "reach the server by this interface, or those of a pattern ('wlan*');\n"
     "repeatable, in order (default: all with a default route)", W_CLIENT, C_IFNAME, 0, 0, NULL},
    {"no-path", "Multipath", "NoPath", K_LIST, AT(no_paths), "IFACE",
     "but not by this one, or those of a pattern (repeatable)", W_CLIENT, C_IFNAME, 0, 0, NULL},
    {"link", "Multipath", "Link", K_LIST, AT(links), "IFACE=TERMS",
     "primary, secondary, backup or never for an interface or a pattern,\n"
     "the most to carry by it, each way (20mbit), or both: wwan0=backup:20mbit;\n"
     "how much in a month, as a backup (10gb; metered: no bound);\n"
     "all: a path to each of the server's addresses, not to one\n"
     "(repeatable, the first that matches counts; default primary)", W_CLIENT, C_LINK, 0, 0, NULL},
    {"route", "Interface", "Route", K_LIST, AT(routes), "CIDR",
     "split tunnel: send only this prefix through (repeatable)", W_CLIENT, C_CIDR, 0, 0, NULL},
    {"no-manage-routes", "Interface", "ManageRoutes", K_FALSE, AT(manage_routes), NULL,
     "set no routes at all", W_CLIENT, C_NONE, 0, 0, NULL},
    {"dns", "Interface", "DNS", K_LIST, AT(dns), "IP",
     "use this resolver while connected (repeatable); restored on exit", W_CLIENT, C_IP, 0, 0, NULL},
    {"no-reconnect", "Interface", "Reconnect", K_FALSE, AT(reconnect), NULL,
     "exit when the connection is lost or can't be made", W_CLIENT, C_NONE, 0, 0, NULL},

    {"listen", "Interface", "Listen", K_STRING, AT(listen), "[ADDR]:PORT",
     "UDP address to serve on (default: every address, port 443)", W_SERVER, C_HOSTPORT, 0, 0, NULL},
    {"subnet", "Interface", "Subnet", K_STRING, AT(subnet), "CIDR",
     "pool of tunnel addresses, /8 to /30 (default 10.0.0.0/24)", W_SERVER, C_CIDR4, 0, 0, NULL},
    {"subnet6", "Interface", "Subnet6", K_STRING, AT(subnet6), "CIDR",
     "IPv6 pool, /64 to /126, or \"none\" (default fd6d:7176:706e::/112)", W_SERVER, C_CIDR6, 0, 0, NULL},
    {"cert", "TLS", "Cert", K_STRING, AT(cert_file), "FILE",
     "certificate chain, PEM (without one: made, kept, its pin printed)", W_SERVER, C_NONE, 0, 0, NULL},
    {"key", "TLS", "Key", K_STRING, AT(key_file), "FILE",
     "its private key, PEM", W_SERVER, C_NONE, 0, 0, NULL},
    {"user", "Auth", "User", K_LIST, AT(users), "NAME:KEY",
     "let this user in (repeatable)", W_SERVER, C_USER, 0, 0, NULL},
    {"no-auth", "Auth", "NoAuth", K_TRUE, AT(no_auth), NULL,
     "let EVERYBODY in", W_SERVER, C_NONE, 0, 0, NULL},
    {"max-clients", "Auth", "MaxClients", K_INT, AT(max_clients), "N",
     "at most N clients at a time (default 1024)", W_SERVER, C_NONE, 1, 1000000, NULL},
    {"retry", "Advanced", "Retry", K_WORD, AT(retry), "auto|always|never",
     "have newcomers prove their address first: under load (auto, the\n"
     "default), always, or never; it costs them a round trip", W_SERVER, C_NONE, 0, 0, "auto|always|never"},
    {"nat", "Interface", "NAT", K_TRUE, AT(nat), NULL,
     "masquerade the pool behind this host (nftables; removed on exit)", W_SERVER, C_NONE, 0, 0, NULL},

    {"auth-key", "Auth", "Key", K_STRING, AT(auth_key), "KEY",
     "the client's key, or the server's key for everybody; others on this\n"
     "machine can see it in the process list: prefer --auth-key-file", W_BOTH, C_KEY, 0, 0, NULL},
    {"auth-key-file", "Auth", "KeyFile", K_STRING, AT(auth_key_file), "FILE",
     "the same, read from the first line of FILE", W_BOTH, C_NONE, 0, 0, NULL},
    {"tun-name", "Interface", "TunName", K_STRING, AT(tun_name), "NAME",
     "name of the TUN device (default mqvpn0)", W_BOTH, C_IFNAME, 0, 0, NULL},
    {"mtu", "Interface", "MTU", K_INT, AT(mtu), "BYTES",
     "tunnel MTU at most, 1280 to 9000 (default: what the paths carry)", W_BOTH, C_NONE, 1280, 9000, NULL},
    {"cc", "Multipath", "CC", K_STRING, AT(cc), "NAME",
     "congestion control of the links: bbr (default), cubic, or newreno", W_BOTH, C_NONE, 0, 0, NULL},
    {"multipath", "Multipath", "Multipath", K_WORD, AT(multipath), "on|off",
     "several links at a time, where both ends allow it (default on)", W_BOTH, C_NONE, 0, 0, "on|off"},
    {"scheduler", "Multipath", "Scheduler", K_WORD, AT(scheduler), "NAME",
     "which path takes what: auto (default), minrtt, wlb,\n"
     "wlb_udp_pin, backup or redundant; on one path auto repairs losses", W_BOTH, C_NONE, 0, 0,
     "auto|minrtt|wlb|wlb_udp_pin|backup|redundant"},
    {"grace", "Multipath", "Grace", K_INT, AT(grace_s), "SECONDS",
     "while nothing gets through, keep the session and its addresses for so\n"
     "long (default 300; the shorter of both ends' counts)", W_BOTH, C_NONE, 10, 86400, NULL},
    {"io", "Advanced", "IO", K_WORD, AT(io), "auto|io_uring|epoll",
     "how to talk to the kernel (default auto)", W_BOTH, C_NONE, 0, 0, "auto|io_uring|epoll"},
    {"offload", "Advanced", "Offload", K_WORD, AT(offload), "auto|off",
     "super-packets from and to the TUN device (default auto)", W_BOTH, C_NONE, 0, 0, "auto|off"},
    {"state-dir", "Advanced", "StateDir", K_STRING, AT(state_dir), "DIR",
     "where keys, certificate and leases are kept", W_BOTH, C_NONE, 0, 0, NULL},
    {"qlog", "Advanced", "QlogDir", K_STRING, AT(qlog_dir), "DIR",
     "write what each connection does to a file in DIR, for tools like qvis", W_BOTH, C_NONE, 0, 0, NULL},
    {"log-level", "Interface", "LogLevel", K_WORD, AT(log_level), "LEVEL",
     "error, warn, info (default), debug or trace", W_BOTH, C_NONE, 0, 0, "error|warn|info|debug|trace"},
    {"config", NULL, NULL, K_STRING, AT(config_file), "FILE",
     "read options from an INI file; the command line wins", W_BOTH, C_NONE, 0, 0, NULL},
    {"mode", NULL, NULL, K_MODE, AT(mode), "client|server",
     "the long form of the first word", W_BOTH, C_NONE, 0, 0, NULL},

    {"seconds", NULL, NULL, K_INT, AT(demo_seconds), "N",
     "demo: how long to send (default 15)", W_TOOLS, C_NONE, 1, 3600, NULL},
    {"rate", NULL, NULL, K_INT, AT(demo_rate_mbps), "MBPS",
     "demo: rate of the first link, twice that of the second (default 60)", W_TOOLS, C_NONE, 1,
     2000, NULL},
    {"delay", NULL, NULL, K_INT, AT(demo_delay_ms), "MS",
     "demo: its one-way delay, half that of the second (default 10)", W_TOOLS, C_NONE, 0, 1000,
     NULL},
    {"name", NULL, NULL, K_LIST, AT(names), "NAME|IP",
     "gencert: what the certificate is for (repeatable)", W_TOOLS, C_NONE, 0, 0, NULL},
    {"json", NULL, NULL, K_TRUE, AT(json), NULL,
     "status: as JSON (docs/status.md)", W_TOOLS, C_NONE, 0, 0, NULL},
    {"watch", NULL, NULL, K_TRUE, AT(watch), NULL,
     "status: again each second", W_TOOLS, C_NONE, 0, 0, NULL},
    {NULL, NULL, NULL, K_STRING, AT(wan_file), "FILE", NULL, W_TOOLS, C_NONE, 0, 0, NULL},

    {NULL, "Interface", "KillSwitch", K_REFUSED, 0, NULL,
     "this program has no kill switch yet; remove the line to run without one", W_BOTH, C_NONE, 0, 0, NULL},
};
/* clang-format on */

/* Keys of the existing mqvpn's files that change nothing here: read and let go, with a word. */
static const char *const ignored[] = {
    "Interface.ReconnectInterval",
    "Multipath.Scheduler",
    "Multipath.InitMaxPathId",
    "Advanced.UdpGso",
    "Advanced.UdpGro",
    "Advanced.RecvRateLimit",
};

struct source {
    struct config *c;
    bool file;
    const char *file_name;
    char *err;
    size_t err_len;
    int status;
    const struct row *of_client, *of_server; /* on the command line: the last of each side's */
};

static int complain(struct source *s, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(struct source *s, int status, const char *fmt, ...)
{
    va_list ap;

    if (s->status != 0)
        return s->status;
    s->status = status;
    va_start(ap, fmt);
    vsnprintf(s->err, s->err_len, fmt, ap);
    va_end(ap);
    return status;
}

/* How the user wrote this option, for messages. */
static const char *spelled(const struct source *s, const struct row *r, char *buf, size_t n)
{
    if (s->file)
        snprintf(buf, n, "%s: [%s] %s", s->file_name, r->section, r->key);
    else
        snprintf(buf, n, "--%s", r->option);
    return buf;
}

int config_host_port(const char *text, uint16_t default_port, char *host, size_t host_len,
                     uint16_t *port)
{
    const char *colon, *h = text;
    size_t n = strlen(text);
    unsigned long v = default_port;
    char *end;

    if (text[0] == '[') {
        const char *close = strchr(text, ']');
        if (!close || (close[1] != 0 && close[1] != ':'))
            return QUIC_INVAL;
        h = text + 1;
        n = (size_t)(close - h);
        colon = close[1] ? close + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL; /* a bare IPv6 address */
        if (colon)
            n = (size_t)(colon - text);
    }
    if (colon) {
        if (colon[1] < '0' || colon[1] > '9')
            return QUIC_INVAL;
        v = strtoul(colon + 1, &end, 10);
        if (*end || v < 1 || v > 65535)
            return QUIC_INVAL;
    }
    if (n >= host_len)
        return QUIC_INVAL;
    memcpy(host, h, n);
    host[n] = 0;
    *port = (uint16_t)v;
    return 0;
}

/*
 * Whether `text` is ADDRESS/LEN of the families allowed (bit 0: v4, bit 1: v6), with no host
 * bits.
 */
static bool is_cidr(const char *text, int families, int min4, int max4, int min6, int max6)
{
    char addr[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    uint8_t b[16];
    char *end;
    long len;
    int bits;

    if (!slash || (size_t)(slash - text) >= sizeof(addr) || slash[1] < '0' || slash[1] > '9')
        return false;
    memcpy(addr, text, (size_t)(slash - text));
    addr[slash - text] = 0;
    len = strtol(slash + 1, &end, 10);
    if (*end)
        return false;
    if ((families & 1) && inet_pton(AF_INET, addr, b) == 1) {
        bits = 32;
        if (len < min4 || len > max4)
            return false;
    } else if ((families & 2) && inet_pton(AF_INET6, addr, b) == 1) {
        bits = 128;
        if (len < min6 || len > max6)
            return false;
    } else {
        return false;
    }
    for (int i = (int)len; i < bits; i++)
        if (b[i / 8] & 0x80 >> i % 8)
            return false;
    return true;
}

bool config_is_key(const char *k)
{
    size_t n = strlen(k);

    for (size_t i = 0; i < n; i++)
        if (k[i] <= 0x20 || k[i] > 0x7e)
            return false;
    return n >= 1 && n <= 256;
}

static bool is_user(const char *v)
{
    const char *colon = strchr(v, ':');

    if (!colon || colon == v || colon - v > 63 || !config_is_key(colon + 1))
        return false;
    for (const char *p = v; p < colon; p++)
        if (*p <= 0x20 || *p > 0x7e)
            return false;
    return true;
}

static int check_value(struct source *s, const struct row *r, const char *v)
{
    char what[256], host[256], pattern[64];
    struct link_terms terms;
    uint8_t b[16];
    uint16_t port;

    spelled(s, r, what, sizeof(what));
    if (*v == 0)
        return complain(s, EXIT_USAGE, "%s: the value is empty", what);
    switch (r->check) {
    case C_CIDR:
        if (!is_cidr(v, 3, 0, 32, 0, 128))
            return complain(s, EXIT_USAGE,
                            "%s: \"%s\" is no prefix such as 192.168.0.0/16 or fd00::/8 (the "
                            "bits after the length must be 0)",
                            what, v);
        break;
    case C_CIDR4:
        if (!is_cidr(v, 1, 8, 30, 0, 0))
            return complain(s, EXIT_USAGE,
                            "%s: \"%s\" is no IPv4 prefix of /8 to /30 such as 10.0.0.0/24",
                            what, v);
        break;
    case C_CIDR6:
        if (strcmp(v, "none") != 0 && !is_cidr(v, 2, 0, 0, 64, 126))
            return complain(s, EXIT_USAGE,
                            "%s: \"%s\" is no IPv6 prefix of /64 to /126 such as "
                            "fd6d:7176:706e::/112, nor \"none\"",
                            what, v);
        break;
    case C_IP:
        if (inet_pton(AF_INET, v, b) != 1 && inet_pton(AF_INET6, v, b) != 1)
            return complain(s, EXIT_USAGE, "%s: \"%s\" is no IP address", what, v);
        break;
    case C_HOSTPORT:
        if (config_host_port(v, PORT_DEFAULT, host, sizeof(host), &port) ||
            (r->who == W_CLIENT && !host[0]))
            return complain(s, EXIT_USAGE,
                            "%s: \"%s\" is no HOST:PORT (an IPv6 address with a port goes into "
                            "brackets: [2001:db8::1]:443)",
                            what, v);
        if (r->who == W_SERVER && host[0] && inet_pton(AF_INET, host, b) != 1 &&
            inet_pton(AF_INET6, host, b) != 1)
            return complain(
                s, EXIT_USAGE,
                "%s: \"%s\" is no IP address of this host (0.0.0.0 or [::] for all)", what,
                host);
        break;
    case C_IFNAME:
        if (strlen(v) >= IFNAMSIZ || strchr(v, '/') || strchr(v, ' '))
            return complain(s, EXIT_USAGE,
                            "%s: \"%s\" can't be an interface name (1 to 15 characters)", what,
                            v);
        break;
    case C_LINK:
        if (!link_rule_parse(v, pattern, &terms))
            return complain(
                s, EXIT_USAGE,
                "%s: \"%s\" is no IFACE=TERMS, such as wwan0=backup, wlan0=20mbit, "
                "wwan0=10gb or wwan0=backup:20mbit:all (primary, secondary, backup, "
                "never or metered; kbit, mbit, gbit, 64kbit at least; mb, gb, tb in "
                "a month; all)",
                what, v);
        break;
    case C_USER:
        if (!is_user(v))
            return complain(s, EXIT_USAGE,
                            "%s: write NAME:KEY, both of printable characters without spaces; "
                            "`mqvpn genkey` makes a key",
                            what);
        break;
    case C_KEY:
        if (!config_is_key(v))
            return complain(s, EXIT_USAGE, "%s: " CONFIG_KEY_RULE "; `mqvpn genkey` makes one",
                            what);
        break;
    case C_NONE:
        break;
    }
    return 0;
}

static int list_add(struct source *s, struct config_list *l, const char *v)
{
    char **grown;

    if (!s->file && l->from_file) {
        while (l->n > 0)
            free(l->item[--l->n]);
        l->from_file = false;
    }
    if (l->n == CONFIG_LIST_MAX)
        return complain(s, EXIT_USAGE, "more than %d values for one option", CONFIG_LIST_MAX);
    grown = realloc(l->item, (l->n + 1) * sizeof(*grown));
    if (!grown)
        return complain(s, EXIT_INTERNAL, "out of memory");
    l->item = grown;
    l->item[l->n] = strdup(v);
    if (!l->item[l->n])
        return complain(s, EXIT_INTERNAL, "out of memory");
    l->n++;
    l->from_file = s->file;
    return 0;
}

static int set_word(struct source *s, const struct row *r, const char *v, int *out)
{
    char what[256];
    const char *w = r->words;
    int i = 0;

    while (w) {
        size_t n = strcspn(w, "|");
        if (strlen(v) == n && strncasecmp(v, w, n) == 0) {
            *out = i;
            return 0;
        }
        w = w[n] ? w + n + 1 : NULL;
        i++;
    }
    return complain(s, EXIT_USAGE, "%s: \"%s\" is none of %s",
                    spelled(s, r, what, sizeof(what)), v, r->words);
}

static int set_int(struct source *s, const struct row *r, const char *v, int *out)
{
    char what[256], *end;
    long n;

    errno = 0;
    n = strtol(v, &end, 10);
    if (errno || end == v || *end || n < r->min || n > r->max)
        return complain(s, EXIT_USAGE, "%s: \"%s\" is no number from %d to %d",
                        spelled(s, r, what, sizeof(what)), v, r->min, r->max);
    *out = (int)n;
    return 0;
}

static int set_bool(struct source *s, const struct row *r, const char *v, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    char what[256];

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(v, yes[i]) == 0 || strcasecmp(v, no[i]) == 0) {
            *out = strcasecmp(v, yes[i]) == 0;
            return 0;
        }
    }
    return complain(s, EXIT_USAGE, "%s: \"%s\" is neither true nor false",
                    spelled(s, r, what, sizeof(what)), v);
}

static int set_mode(struct source *s, const char *v)
{
    static const struct {
        const char *word;
        enum config_mode mode;
    } modes[] = {
        {"client", CONFIG_CLIENT},   {"server", CONFIG_SERVER},   {"demo", CONFIG_DEMO},
        {"genkey", CONFIG_GENKEY},   {"gencert", CONFIG_GENCERT}, {"help", CONFIG_HELP},
        {"version", CONFIG_VERSION}, {"wan", CONFIG_WAN},         {"status", CONFIG_STATUS}};

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(v, modes[i].word) == 0) {
            s->c->mode = modes[i].mode;
            return 0;
        }
    }
    return complain(
        s, EXIT_USAGE,
        "\"%s\" is no command; there are client, server, status, demo, genkey, gencert, "
        "wan (see mqvpn --help)",
        v);
}

/* A file may hold several values of a list in one line, separated by commas. */
static int set_list(struct source *s, const struct row *r, struct config_list *l, const char *v)
{
    char *copy, *save = NULL;
    int rc = 0;

    if (!s->file)
        return (rc = check_value(s, r, v)) ? rc : list_add(s, l, v);
    copy = strdup(v);
    if (!copy)
        return complain(s, EXIT_INTERNAL, "out of memory");
    for (char *t = strtok_r(copy, ", ", &save); t && rc == 0; t = strtok_r(NULL, ", ", &save))
        rc = (rc = check_value(s, r, t)) ? rc : list_add(s, l, t);
    free(copy);
    return rc;
}

static int set(struct source *s, const struct row *r, const char *v)
{
    char *base = (char *)s->c + r->at, *copy, what[256];
    int rc;

    switch (r->kind) {
    case K_STRING:
        if ((rc = check_value(s, r, v)))
            return rc;
        copy = strdup(v);
        if (!copy)
            return complain(s, EXIT_INTERNAL, "out of memory");
        free(*(char **)(void *)base);
        *(char **)(void *)base = copy;
        s->c->tun_named |= r->at == AT(tun_name);
        return 0;
    case K_LIST:
        return set_list(s, r, (struct config_list *)(void *)base, v);
    case K_TRUE:
        return s->file ? set_bool(s, r, v, (bool *)base) : (*(bool *)base = true, 0);
    case K_FALSE:
        return s->file ? set_bool(s, r, v, (bool *)base) : (*(bool *)base = false, 0);
    case K_INT:
        return set_int(s, r, v, (int *)(void *)base);
    case K_WORD:
        return set_word(s, r, v, (int *)(void *)base);
    case K_MODE:
        return set_mode(s, v);
    case K_REFUSED:
        return strcasecmp(v, "false") == 0
                   ? 0
                   : complain(s, EXIT_USAGE, "%s: %s", spelled(s, r, what, sizeof(what)),
                              r->help);
    }
    return 0;
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    struct source *s = ctx;
    char full[128];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].key && strcasecmp(rows[i].section, section) == 0 &&
            strcasecmp(rows[i].key, name) == 0)
            return set(s, &rows[i], value) == 0;
    snprintf(full, sizeof(full), "%s.%s", section, name);
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        if (strcasecmp(full, ignored[i]) == 0)
            return 1;
    complain(s, EXIT_USAGE, "%s: [%s] %s is no option (see mqvpn --help)", s->file_name,
             section, name);
    return 0;
}

static int read_file(struct source *s, const char *name)
{
    FILE *f = fopen(name, "r");
    int line;

    if (!f)
        return complain(s, EXIT_FILE, "--config %s: %s", name, strerror(errno));
    s->file = true;
    s->file_name = name;
    line = ini_parse_file(f, on_key, s);
    fclose(f);
    s->file = false;
    if (line != 0)
        return complain(s, EXIT_USAGE, "%s, line %d: not \"key = value\" nor \"[Section]\"",
                        name, line);
    /* The existing programs' files have no word for the mode: it follows from what they hold. */
    if (s->c->mode == CONFIG_DEMO && s->c->server)
        s->c->mode = CONFIG_CLIENT;
    else if (s->c->mode == CONFIG_DEMO)
        s->c->mode = CONFIG_SERVER;
    return 0;
}

/* One pass over argv: finds the file (`find` set), or applies the options. */
static int read_args(struct source *s, int argc, char **argv, const char **find)
{
    struct option opt[ARRAY_LEN(rows) + 3];
    int index[ARRAY_LEN(rows) + 2], n = 0, o, which = 0, rc;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!rows[i].option)
            continue;
        index[n] = (int)i;
        opt[n++] = (struct option){rows[i].option,
                                   rows[i].value ? required_argument : no_argument, NULL, 0};
    }
    opt[n] = (struct option){"help", no_argument, NULL, 'h'};
    opt[n + 1] = (struct option){"version", no_argument, NULL, 'V'};
    opt[n + 2] = (struct option){0};
    optind = 0;
    while ((o = getopt_long(argc, argv, ":hV", opt, &which)) != -1) {
        if (o == ':')
            return complain(s, EXIT_USAGE, "%s needs a value (see mqvpn --help)",
                            argv[optind - 1]);
        if (o == '?')
            return complain(s, EXIT_USAGE, "%s is no option (see mqvpn --help)",
                            argv[optind - 1]);
        if (o == 'h' || o == 'V') {
            s->c->mode = o == 'h' ? CONFIG_HELP : CONFIG_VERSION;
            return 0;
        }
        if (find) {
            if (strcmp(opt[which].name, "config") == 0)
                *find = optarg;
        } else if ((rc = set(s, &rows[index[which]], optarg ? optarg : ""))) {
            return rc;
        } else if (rows[index[which]].who == W_CLIENT) {
            s->of_client = &rows[index[which]];
        } else if (rows[index[which]].who == W_SERVER) {
            s->of_server = &rows[index[which]];
        }
    }
    if (find)
        return 0;
    for (int i = optind; i < argc; i++) {
        /* `mqvpn client HOST` and `mqvpn server` read like sentences. */
        if (i == optind && (rc = set_mode(s, argv[i])))
            return rc;
        if (i == optind)
            continue;
        if ((s->c->mode != CONFIG_CLIENT && s->c->mode != CONFIG_WAN) || i > optind + 1)
            return complain(s, EXIT_USAGE, "\"%s\" is one word too many (see mqvpn --help)",
                            argv[i]);
        for (size_t k = 0; k < ARRAY_LEN(rows); k++)
            if (rows[k].at == (s->c->mode == CONFIG_WAN ? AT(wan_file) : AT(server)) &&
                (rc = set(s, &rows[k], argv[i])))
                return rc;
    }
    return 0;
}

/* What only makes sense together, or not at all. */
static int check_whole(struct source *s)
{
    struct config *c = s->c;

    if (strcmp(c->cc, "bbr2") == 0) /* as the existing programs call theirs */
        c->cc[3] = 0;
    if (strcmp(c->cc, "cubic") != 0 && strcmp(c->cc, "newreno") != 0 &&
        strcmp(c->cc, "bbr") != 0)
        return complain(s, EXIT_USAGE,
                        "congestion control (--cc, CC): \"%s\" is none of cubic, newreno, bbr",
                        c->cc);
    if (c->auth_key && c->auth_key_file)
        return complain(s, EXIT_USAGE, "give --auth-key or --auth-key-file, not both");
    /* A file may serve both sides; what is typed is meant. */
    if (c->mode == CONFIG_CLIENT && s->of_server)
        return complain(s, EXIT_USAGE, "--%s is for the server, not for a client",
                        s->of_server->option);
    if (c->mode == CONFIG_SERVER && s->of_client)
        return complain(s, EXIT_USAGE, "--%s is for a client, not for the server",
                        s->of_client->option);
    if (c->mode == CONFIG_CLIENT) {
        if (!c->server)
            return complain(s, EXIT_USAGE,
                            "which server? mqvpn client HOST[:PORT] "
                            "--auth-key-file FILE");
        if (c->insecure && (c->pins.n || c->ca_file))
            return complain(s, EXIT_USAGE, "--insecure contradicts --pin and --ca: drop one");
    }
    if (c->mode == CONFIG_WAN && !c->wan_file)
        return complain(s, EXIT_USAGE, "which links? mqvpn wan FILE (see app/wan_spec.h)");
    if (c->mode == CONFIG_SERVER) {
        if (!c->cert_file != !c->key_file)
            return complain(s, EXIT_USAGE, "--cert and --key go together");
        if (c->no_auth && (c->users.n || c->auth_key || c->auth_key_file))
            return complain(s, EXIT_USAGE,
                            "--no-auth contradicts --user and --auth-key: drop "
                            "one");
    }
    return 0;
}

/* Never a place that others may write to, as /tmp is: there are keys in it. */
static char *default_state_dir(void)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *out = NULL;
    int rc;

    if (geteuid() != 0 && xdg && xdg[0] == '/')
        rc = asprintf(&out, "%s/mqvpn", xdg);
    else if (geteuid() != 0 && home && home[0] == '/')
        rc = asprintf(&out, "%s/.local/state/mqvpn", home);
    else
        return strdup("/var/lib/mqvpn");
    return rc < 0 ? NULL : out;
}

static int defaults(struct config *c)
{
    *c = (struct config){.mode = CONFIG_DEMO,
                         .log_level = LOG_INFO,
                         .manage_routes = true,
                         .reconnect = true,
                         .max_clients = 1024,
                         .grace_s = 300,
                         .demo_seconds = 15,
                         .demo_rate_mbps = 60,
                         .demo_delay_ms = 10};
    c->tun_name = strdup("mqvpn0");
    c->listen = strdup(":443");
    c->subnet = strdup("10.0.0.0/24");
    c->subnet6 = strdup("fd6d:7176:706e::/112");
    c->cc = strdup("bbr");
    c->state_dir = default_state_dir();
    return c->tun_name && c->listen && c->subnet && c->subnet6 && c->cc && c->state_dir ? 0
                                                                                        : -1;
}

int config_parse(struct config *c, int argc, char **argv, char *err, size_t err_len)
{
    struct source s = {.c = c, .err = err, .err_len = err_len};
    const char *file = NULL;
    int rc;

    if (defaults(c))
        return complain(&s, EXIT_INTERNAL, "out of memory");
    if ((rc = read_args(&s, argc, argv, &file)))
        return rc;
    if (c->mode == CONFIG_HELP || c->mode == CONFIG_VERSION)
        return 0;
    if (file && (rc = read_file(&s, file)))
        return rc;
    if ((rc = read_args(&s, argc, argv, NULL)))
        return rc;
    return check_whole(&s);
}

static void list_free(struct config_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->item[i]);
    free(l->item);
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *base = (char *)c + rows[i].at;
        if (rows[i].kind == K_STRING)
            free(*(char **)(void *)base);
        else if (rows[i].kind == K_LIST)
            list_free((struct config_list *)(void *)base);
    }
    *c = (struct config){0};
}

static void help_rows(FILE *to, enum who who)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = rows[i].help;
        char head[64];

        if (rows[i].who != who || !rows[i].option)
            continue;
        snprintf(head, sizeof(head), "--%s%s%s", rows[i].option, rows[i].value ? " " : "",
                 rows[i].value ? rows[i].value : "");
        while (text) {
            size_t n = strcspn(text, "\n");
            fprintf(to, "  %-27s %.*s\n", head, (int)n, text);
            head[0] = 0;
            text = text[n] ? text + n + 1 : NULL;
        }
    }
}

void config_help(FILE *to)
{
    fputs(
        "mqvpn - a VPN that carries IP packets in HTTP/3 (CONNECT-IP, RFC 9484)\n\n"
        "  mqvpn                           demo: two hosts in private namespaces, two links\n"
        "  mqvpn server [options]          serve; prints the client's command line\n"
        "  mqvpn client HOST[:PORT] [options]\n"
        "  mqvpn status                    what the one that runs here is doing\n"
        "  mqvpn genkey                    print a new key\n"
        "  mqvpn gencert --name NAME [--cert FILE --key FILE]\n"
        "                                  make a certificate and its key, print its pin\n"
        "  mqvpn wan FILE                  emulated links between network namespaces, for "
        "tests\n"
        "  mqvpn --help | --version\n",
        to);
    fputs("\nClient:\n", to);
    help_rows(to, W_CLIENT);
    fputs("\nServer:\n", to);
    help_rows(to, W_SERVER);
    fputs("\nBoth:\n", to);
    help_rows(to, W_BOTH);
    fputs("\nDemo and tools:\n", to);
    help_rows(to, W_TOOLS);
    fputs("\nExit status: 0 done, 1 internal error, 2 no privileges, 64 usage, 66 file,\n"
          "68 name does not resolve, 69 server does not answer, 71 TUN device or route,\n"
          "73 UDP port or interface, 75 server full, 76 protocol, 77 wrong key,\n"
          "78 certificate not accepted.\n",
          to);
}
