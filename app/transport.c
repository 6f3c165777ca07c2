#include "app/transport.h"

#include "app/exit.h"
#include "app/keep.h"
#include "mp/mp.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CERT_DAYS 3650
#define PATHS     9 /* of one connection: path IDs 0 to 8 at first */

static const char *const alpn[] = {"h3"};

void transport_config(struct quic_config *q, const struct config *cfg, struct tls_ctx *tls,
                      const struct rng *rng, const struct log *log)
{
    quic_config_default(q);
    q->tls = tls;
    q->rng = *rng;
    q->log = log;
    q->cc = cfg->cc;
    q->idle = (ns_t)cfg->grace_s * NS_PER_S;
    q->keep_alive = cfg->mode == CONFIG_CLIENT ? 10 * NS_PER_S : 0;
    q->handshake = 10 * NS_PER_S;
    q->streams_bidi = cfg->mode == CONFIG_CLIENT ? 0 : 8;
    q->streams_uni = 8;
    /* Streams carry requests, capsules and settings; packets go in DATAGRAMs. */
    q->conn_window = 256 << 10;
    q->conn_window_max = 1 << 20;
    q->stream_window = 64 << 10;
    q->stream_window_max = 256 << 10;
    q->stream_send_buffer = 256 << 10;
    q->max_datagram_frame_size = 65535;
    q->max_udp_payload = transport_payload(1500, false);
    q->ext = cfg->multipath ? NULL : &mp_ext;
    q->max_paths = cfg->multipath ? 1 : PATHS;
}

size_t transport_payload(unsigned link_mtu_bytes, bool v6)
{
    size_t mtu = link_mtu_bytes > 9000 ? 9000 : link_mtu_bytes;
    size_t head = quic_ip_udp_bytes(v6);

    return mtu < 1200 + head ? 1200 : mtu - head;
}

/* Lines for SSLKEYLOGFILE, when the environment asks for them. */
static void keylog(void *ctx, const char *line)
{
    FILE *f = fopen(ctx, "a");

    if (!f)
        return;
    fprintf(f, "%s\n", line);
    fclose(f);
}

static int finish(struct tls_ctx_config *t, const struct log *log, struct tls_ctx **out,
                  int status)
{
    char err[512];
    char *file = getenv("SSLKEYLOGFILE");

    t->alpn = alpn;
    t->n_alpn = ARRAY_LEN(alpn);
    if (file && *file) {
        t->keylog = keylog;
        t->keylog_ctx = file;
        LOG_AT(log, LOG_WARN,
               "SSLKEYLOGFILE is set: the keys of every connection go to %s, and whoever reads "
               "it can decrypt them",
               file);
    }
    *out = tls_ctx_new(t, err, sizeof(err));
    if (*out)
        return 0;
    LOG_AT(log, LOG_ERROR, "%s", err);
    return status;
}

int transport_client_tls(const struct config *cfg, const struct log *log, struct tls_ctx **out)
{
    uint8_t pins[TLS_PINS_MAX][TLS_PIN];
    struct tls_ctx_config t = {.verify = TLS_VERIFY_CHAIN, .ca_file = cfg->ca_file};

    if (cfg->pins.n > TLS_PINS_MAX) {
        LOG_AT(log, LOG_ERROR, "--pin: at most %d pins", TLS_PINS_MAX);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < cfg->pins.n; i++) {
        if (tls_pin_parse(cfg->pins.item[i], pins[i])) {
            LOG_AT(log, LOG_ERROR,
                   "--pin: \"%s\" is no pin (sha256/ and 44 characters, as the "
                   "server prints it)",
                   cfg->pins.item[i]);
            return EXIT_USAGE;
        }
        t.verify = TLS_VERIFY_PIN;
        t.pins = (const uint8_t(*)[TLS_PIN])pins;
        t.n_pins = cfg->pins.n;
    }
    t.no_system_ca = cfg->ca_file != NULL;
    if (cfg->insecure) {
        t.verify = TLS_VERIFY_NONE;
        LOG_AT(log, LOG_WARN,
               "--insecure: the server's certificate is NOT checked; whoever sits "
               "between can read and change everything");
    }
    return finish(&t, log, out, EXIT_FILE);
}

/* The certificate and key kept in the state directory, made if there are none. */
static int kept_cert(const struct config *cfg, const struct log *log, struct tls_pem *cert,
                     struct tls_pem *key)
{
    const char *names[2] = {"mqvpn", NULL};
    char path[PATH_MAX], host[256];
    size_t n = 1;
    int rc;

    cert->p = malloc(KEEP_MAX);
    key->p = malloc(KEEP_MAX);
    if (!cert->p || !key->p)
        return EXIT_INTERNAL;
    if (cfg->state_dir) {
        snprintf(path, sizeof(path), "%s/server.crt", cfg->state_dir);
        rc = keep_read(path, cert->p, KEEP_MAX, &cert->n);
        snprintf(path, sizeof(path), "%s/server.key", cfg->state_dir);
        if (rc == 0)
            rc = keep_read(path, key->p, KEEP_MAX, &key->n);
        if (rc == 0)
            return 0;
        if (rc != -ENOENT) {
            LOG_AT(log, LOG_ERROR, "%s: %s", path, strerror(-rc));
            return EXIT_FILE;
        }
    }
    tls_pem_free(cert);
    tls_pem_free(key);
    if (gethostname(host, sizeof(host) - 1) == 0 && host[0]) {
        host[sizeof(host) - 1] = 0;
        names[n++] = host;
    }
    if (tls_make_cert(names, n, CERT_DAYS, (int64_t)time(NULL), cert, key) &&
        tls_make_cert(names, 1, CERT_DAYS, (int64_t)time(NULL), cert, key)) {
        LOG_AT(log, LOG_ERROR, "can't make a certificate");
        return EXIT_INTERNAL;
    }
    if (!cfg->state_dir)
        return 0;
    if ((rc = keep_write(cfg->state_dir, "server.key", key->p, key->n)) ||
        (rc = keep_write(cfg->state_dir, "server.crt", cert->p, cert->n))) {
        LOG_AT(log, LOG_ERROR,
               "can't keep the server's certificate in %s: %s (choose another place with "
               "--state-dir)",
               cfg->state_dir, strerror(-rc));
        return EXIT_FILE;
    }
    LOG_AT(log, LOG_INFO, "made a certificate and kept it in %s", cfg->state_dir);
    return 0;
}

static int given_cert(const struct config *cfg, const struct log *log, struct tls_pem *cert)
{
    int rc;

    cert->p = malloc(KEEP_MAX);
    if (!cert->p)
        return EXIT_INTERNAL;
    rc = keep_read(cfg->cert_file, cert->p, KEEP_MAX, &cert->n);
    if (rc == 0)
        return 0;
    LOG_AT(log, LOG_ERROR, "--cert %s: %s", cfg->cert_file, strerror(-rc));
    return EXIT_FILE;
}

int transport_server_tls(const struct config *cfg, const struct log *log,
                         struct span ticket_key, struct tls_ctx **out, char pin[TLS_PIN_TEXT],
                         bool *own)
{
    struct tls_pem cert = {0}, key = {0};
    struct tls_ctx_config t = {
        .server = true, .verify = TLS_VERIFY_NONE, .ticket_key = ticket_key};
    uint8_t digest[TLS_PIN];
    int rc;

    *own = !cfg->cert_file;
    rc = *own ? kept_cert(cfg, log, &cert, &key) : given_cert(cfg, log, &cert);
    if (rc)
        goto out;
    if (tls_spki_pin(tls_pem_span(&cert), digest)) {
        LOG_AT(log, LOG_ERROR, "%s holds no certificate (PEM)",
               *own ? cfg->state_dir : cfg->cert_file);
        rc = EXIT_FILE;
        goto out;
    }
    tls_pin_text(digest, pin);
    if (*own) {
        t.cert_pem = tls_pem_span(&cert);
        t.key_pem = tls_pem_span(&key);
    } else {
        t.cert_file = cfg->cert_file;
        t.key_file = cfg->key_file;
    }
    rc = finish(&t, log, out, EXIT_FILE);
out:
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return rc;
}
