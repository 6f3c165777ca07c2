/*
 * main - reads the command line and runs what it asks for.
 */
#include "app/auth.h"
#include "app/client.h"
#include "app/config.h"
#include "app/demo.h"
#include "app/exit.h"
#include "app/keep.h"
#include "app/random.h"
#include "app/server.h"
#include "app/status_show.h"
#include "app/wan_host.h"
#include "quic/aead.h"
#include "quic/cert.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef MQVPN_VERSION
#define MQVPN_VERSION "0.1.0"
#endif

#define CERT_DAYS 3650

static void to_stderr(void *ctx, enum log_level level, const char *text)
{
    static const char *const name[] = {"error: ", "warning: ", "", "debug: ", "trace: "};
    char stamp[32] = "";
    struct timespec ts;
    struct tm tm;

    (void)ctx;
    /* Under systemd, and for one-shot errors, a time of our own would be noise. */
    if (level >= LOG_WARN && !getenv("JOURNAL_STREAM")) {
        clock_gettime(CLOCK_REALTIME, &ts);
        localtime_r(&ts.tv_sec, &tm);
        strftime(stamp, sizeof(stamp), "%H:%M:%S ", &tm);
    }
    fprintf(stderr, "mqvpn: %s%s%s\n", stamp, name[level], text);
}

static int genkey(void)
{
    struct rng rng = random_system();
    char key[64];

    auth_make_key(&rng, key);
    printf("%s\n", key);
    return ferror(stdout) || fflush(stdout) ? EXIT_FILE : EXIT_OK;
}

/* Write `pem` to `path`; never over an existing file. */
static int put(const char *path, const struct tls_pem *pem, const struct log *log)
{
    char dir[4096], base[4096];
    int rc;

    if (access(path, F_OK) == 0) {
        LOG_AT(log, LOG_ERROR, "%s exists already; remove it first or choose another name",
               path);
        return EXIT_FILE;
    }
    snprintf(dir, sizeof(dir), "%s", path);
    snprintf(base, sizeof(base), "%s", path);
    rc = keep_write(dirname(dir), basename(base), pem->p, pem->n);
    if (rc == 0)
        return 0;
    LOG_AT(log, LOG_ERROR, "%s: %s", path, strerror(-rc));
    return EXIT_FILE;
}

static int gencert(const struct config *c, const struct log *log)
{
    const char *cert_file = c->cert_file ? c->cert_file : "server.crt";
    const char *key_file = c->key_file ? c->key_file : "server.key";
    struct tls_pem cert = {0}, key = {0};
    uint8_t pin[TLS_PIN];
    char text[TLS_PIN_TEXT];
    int rc;

    if (c->names.n == 0) {
        LOG_AT(log, LOG_ERROR, "for which host? mqvpn gencert --name vpn.example.org");
        return EXIT_USAGE;
    }
    if (tls_make_cert((const char *const *)c->names.item, c->names.n, CERT_DAYS,
                      (int64_t)time(NULL), &cert, &key) ||
        tls_spki_pin(tls_pem_span(&cert), pin)) {
        LOG_AT(log, LOG_ERROR, "can't make a certificate for \"%s\"", c->names.item[0]);
        rc = EXIT_USAGE;
    } else if ((rc = put(key_file, &key, log)) == 0 && (rc = put(cert_file, &cert, log)) == 0) {
        printf("%s and %s\n%s\n", cert_file, key_file, tls_pin_text(pin, text));
    }
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return rc;
}

static const char *cipher(char *out, size_t n)
{
    aead_describe(out, n);
    return out;
}

int main(int argc, char **argv)
{
    struct log log = {.line = to_stderr, .level = LOG_INFO};
    struct config c;
    char err[512] = "", text[128];
    const char *vaes = getenv("MQVPN_VAES");
    int status = config_parse(&c, argc, argv, err, sizeof(err));

    if (status) {
        fprintf(stderr, "mqvpn: error: %s\n", err);
        config_free(&c);
        return status;
    }
    log.level = (enum log_level)c.log_level;
    aead_set_vaes(!vaes || strcmp(vaes, "off") != 0);
    signal(SIGPIPE, SIG_IGN); /* a log that nobody reads is no reason to leave things behind */
    switch (c.mode) {
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("mqvpn %s\n%s\n", MQVPN_VERSION, cipher(text, sizeof(text)));
        break;
    case CONFIG_GENKEY:
        status = genkey();
        break;
    case CONFIG_GENCERT:
        status = gencert(&c, &log);
        break;
    case CONFIG_SERVER:
        LOG_AT(&log, LOG_DEBUG, "%s", cipher(text, sizeof(text)));
        status = server_run(&c, &log);
        break;
    case CONFIG_CLIENT:
        LOG_AT(&log, LOG_DEBUG, "%s", cipher(text, sizeof(text)));
        status = client_run(&c, &log);
        break;
    case CONFIG_STATUS:
        status = status_show_run(&c, &log);
        break;
    case CONFIG_WAN:
        status = wan_host_run(c.wan_file, &log);
        break;
    case CONFIG_DEMO:
        /* Its hosts' ordinary chatter would drown what the demo shows. */
        if (c.log_level == LOG_INFO)
            log.level = LOG_ERROR;
        status = demo_run(&c, &log);
        break;
    }
    config_free(&c);
    return status;
}
