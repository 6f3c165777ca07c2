#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "quic/tls_impl.h"

/* A line being put together; what does not fit is cut. */
struct line {
    char *p;
    size_t left; /* terminator included */
};

static void add(struct line *l, const char *text, size_t n)
{
    for (size_t i = 0; i < n && l->left > 1; i++, l->left--)
        *l->p++ = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    *l->p = '\0';
}

static void add_text(struct line *l, const char *text)
{
    add(l, text, strlen(text));
}

/* One subject alternative name, if of a kind that a server is found by. */
static bool add_general_name(struct line *l, const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    int type;
    const ASN1_STRING *s = GENERAL_NAME_get0_value(name, &type);
    const uint8_t *b;
    int n;

    if (type != GEN_DNS && type != GEN_IPADD)
        return false;
    b = ASN1_STRING_get0_data(s);
    n = ASN1_STRING_length(s);
    if (type == GEN_DNS)
        add(l, (const char *)b, (size_t)n);
    else if ((n == 4 || n == 16) &&
             inet_ntop(n == 4 ? AF_INET : AF_INET6, b, text, sizeof(text)))
        add_text(l, text);
    else
        return false;
    return true;
}

/* "a.example, 192.0.2.1 and others", or that there is no name. */
static void add_names(struct line *l, const X509 *x)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t shown = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        char one[256];
        struct line name = {one, sizeof(one)};

        if (!add_general_name(&name, sk_GENERAL_NAME_value(all, i)))
            continue;
        if (shown == 3) {
            add_text(l, " and others");
            break;
        }
        add_text(l, shown++ ? ", " : "");
        add_text(l, one);
    }
    if (shown == 0)
        add_text(l, "no host at all (it has no subject alternative name)");
    GENERAL_NAMES_free(all);
}

/* The most telling part of a distinguished name. */
static void add_dn(struct line *l, const X509_NAME *name)
{
    static const int kinds[] = {NID_commonName, NID_organizationName};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int at = X509_NAME_get_index_by_NID(name, kinds[i], -1);

        if (at >= 0) {
            const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

            add_text(l, "\"");
            add(l, (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
            add_text(l, "\"");
            return;
        }
    }
    add_text(l, "an issuer without a name");
}

static void add_pin(struct line *l, const X509 *x)
{
    uint8_t pin[TLS_PIN];
    char text[TLS_PIN_TEXT];

    if (tls_x509_pin(x, pin) == 0)
        add_text(l, tls_pin_text(pin, text));
}

/* "2026-11-21" of a certificate's time. */
static void add_date(struct line *l, const ASN1_TIME *t)
{
    struct tm tm;
    char text[32];

    if (!ASN1_TIME_to_tm(t, &tm) || strftime(text, sizeof(text), "%Y-%m-%d", &tm) == 0)
        add_text(l, "a date that can't be read");
    else
        add_text(l, text);
}

static enum tls_why reason_of(int error)
{
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_WHY_NAME;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return TLS_WHY_SELF_SIGNED;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return TLS_WHY_UNKNOWN_CA;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return TLS_WHY_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_WHY_NOT_YET_VALID;
    default:
        return TLS_WHY_CERTIFICATE;
    }
}

/* What is wrong with the chain, and what can be done. */
static void explain(struct tls *t, X509_STORE_CTX *store, const X509 *leaf)
{
    int error = X509_STORE_CTX_get_error(store);
    const X509 *at = X509_STORE_CTX_get_current_cert(store);
    struct line l = {t->text, sizeof(t->text)};

    if (!at)
        at = leaf;
    t->why = reason_of(error);
    add_text(&l, X509_STORE_CTX_get_error_depth(store) > 0 && t->why != TLS_WHY_UNKNOWN_CA
                     ? "a CA certificate in the server's chain "
                     : "the server's certificate ");
    switch (t->why) {
    case TLS_WHY_NAME:
        add_text(&l, "is for ");
        add_names(&l, leaf);
        add_text(&l, ", not for ");
        add_text(&l, t->name);
        break;
    case TLS_WHY_SELF_SIGNED:
        add_text(&l, "is self-signed: if its key is the server's, pass --pin ");
        add_pin(&l, leaf);
        add_text(&l, ", or the certificate as --ca");
        break;
    case TLS_WHY_UNKNOWN_CA:
        add_text(&l, "comes from ");
        add_dn(&l, X509_get_issuer_name(at));
        add_text(&l, ", which leads to no trusted CA: pass that CA's certificate as --ca, or "
                     "the server's pin as --pin");
        break;
    case TLS_WHY_EXPIRED:
        add_text(&l, "expired on ");
        add_date(&l, X509_get0_notAfter(at));
        add_text(&l, ": it has to be renewed (or is this machine's clock wrong?)");
        break;
    case TLS_WHY_NOT_YET_VALID:
        add_text(&l, "is not valid before ");
        add_date(&l, X509_get0_notBefore(at));
        add_text(&l, ": is this machine's clock right?");
        break;
    default:
        add_text(&l, "is not acceptable: ");
        add_text(&l, X509_verify_cert_error_string(error));
    }
}

static bool pinned(const struct tls_ctx *ctx, const X509 *leaf)
{
    uint8_t pin[TLS_PIN];

    if (tls_x509_pin(leaf, pin))
        return false;
    for (size_t i = 0; i < ctx->n_pins; i++) {
        if (memcmp(pin, ctx->pins[i], TLS_PIN) == 0)
            return true;
    }
    return false;
}

static int verify_pin(struct tls *t, X509_STORE_CTX *store, const X509 *leaf)
{
    struct line l = {t->text, sizeof(t->text)};

    if (pinned(t->ctx, leaf)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    t->why = TLS_WHY_PIN;
    add_text(&l, "the server's key is ");
    add_pin(&l, leaf);
    add_text(&l, ", which is not pinned: either this is another server, or it has a new key "
                 "and --pin has to change");
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

int tls_verify_peer(X509_STORE_CTX *store, void *arg)
{
    const struct tls_ctx *ctx = arg;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_get_app_data(ssl);
    const X509 *leaf = X509_STORE_CTX_get0_cert(store);

    if (ctx->verify == TLS_VERIFY_PIN)
        return verify_pin(t, store, leaf);
    if (X509_verify_cert(store) > 0)
        return 1;
    explain(t, store, leaf);
    return 0;
}
