/*
 * config - what the user asked for: command line, configuration file, defaults.
 *
 * One table of options (config.c) drives the command line, the INI file and
 * `--help`: an option is one row. The command line wins over the file wherever
 * both speak, a list as a whole. Values are checked when they are read, so that
 * whoever uses a `struct config` need not check again.
 */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H

#include "quic/log.h"
#include "quic/types.h"

#include <stdio.h>

#define CONFIG_LIST_MAX 256 /* entries of a repeatable option */

enum config_mode {
    CONFIG_DEMO,
    CONFIG_CLIENT,
    CONFIG_SERVER,
    CONFIG_GENKEY,
    CONFIG_GENCERT,
    CONFIG_WAN,
    CONFIG_STATUS,
    CONFIG_HELP,
    CONFIG_VERSION
};

enum config_io { CONFIG_IO_AUTO, CONFIG_IO_URING, CONFIG_IO_EPOLL };

struct config_list {
    char **item;
    size_t n;
    bool from_file; /* the command line replaces it as a whole */
};

struct config {
    enum config_mode mode;

    char *config_file;
    int log_level; /* enum log_level */
    char *tun_name;
    bool tun_named; /* it was asked for */
    int mtu; /* tunnel MTU in bytes, 0 to follow the path */
    char *state_dir;
    int io;      /* enum config_io */
    int offload; /* 0: auto, 1: off */
    int multipath; /* 0: on, 1: off */
    int scheduler; /* as sched_at counts them */
    int grace_s; /* a session in which nothing comes back is kept for so long */
    char *cc;
    char *qlog_dir;

    /* client */
    char *server;      /* host[:port] */
    char *server_name; /* for TLS, when it differs from the host */
    bool insecure;
    char *ca_file;
    struct config_list pins;
    struct config_list paths;    /* patterns of interfaces to reach the server by, in order */
    struct config_list no_paths; /* ... and not to */
    struct config_list links;    /* PATTERN=TERMS, see app/link_rules.h */
    struct config_list dns;
    struct config_list routes; /* split tunnel: only these */
    bool manage_routes;
    bool reconnect;

    /* server */
    char *listen; /* address:port */
    char *subnet;
    char *subnet6; /* "none": IPv4 alone */
    char *cert_file, *key_file;
    struct config_list users; /* NAME:KEY */
    bool no_auth;
    int max_clients;
    int retry; /* enum quic_retry */
    bool nat;

    /* both */
    char *auth_key;
    char *auth_key_file;

    char *wan_file; /* wan: its orders */
    bool json, watch; /* status */

    /* demo and gencert */
    int demo_seconds;
    int demo_rate_mbps;
    int demo_delay_ms;        /* one way */
    struct config_list names; /* gencert: names and addresses for the certificate */
};

/*
 * Fill `c` from the arguments and, with --config, from a file.
 *
 * Returns 0, or an exit status (app/exit.h) after writing one line to `err` that
 * says what is wrong and what would be right. `c` is to be freed in both cases.
 */
int config_parse(struct config *c, int argc, char **argv, char *err, size_t err_len);
void config_free(struct config *c);

/* The text of --help, made from the option table. */
void config_help(FILE *to);

/* "host:port", "[v6]:port", "host" or a bare IPv6 address; 0 or QUIC_INVAL. */
int config_host_port(const char *text, uint16_t default_port, char *host, size_t host_len,
                     uint16_t *port);

/* Whether this text can be a key, and what makes one, for messages. */
#define CONFIG_KEY_RULE "a key is 1 to 256 printable characters without spaces"
bool config_is_key(const char *k);

#endif
