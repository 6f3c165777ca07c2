#include "quic/cert.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "quic/tls_impl.h"

#define NAME_MAX_LEN 253   /* of a host name */
#define CN_MAX       64    /* ub-common-name (RFC 5280 A.1) */
#define DAYS_MAX     36500 /* keeps the year below 9999 for any `now` of this millennium */
#define PIN_BASE64   44

void tls_pem_free(struct tls_pem *pem)
{
    if (pem->p)
        OPENSSL_cleanse(pem->p, pem->n);
    free(pem->p);
    *pem = (struct tls_pem){0};
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < n; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    }
    return n > 0 && n <= NAME_MAX_LEN;
}

/* One subject alternative name, an address if it reads as one. */
static bool add_name(GENERAL_NAMES *all, const char *name)
{
    GENERAL_NAME *one = GENERAL_NAME_new();
    ASN1_OCTET_STRING *ip;
    ASN1_IA5STRING *dns;

    if (!one)
        return false;
    if ((ip = a2i_IPADDRESS(name))) {
        GENERAL_NAME_set0_value(one, GEN_IPADD, ip);
    } else if ((dns = ASN1_IA5STRING_new()) && ASN1_STRING_set(dns, name, -1)) {
        GENERAL_NAME_set0_value(one, GEN_DNS, dns);
    } else {
        ASN1_IA5STRING_free(dns);
        GENERAL_NAME_free(one);
        return false;
    }
    if (sk_GENERAL_NAME_push(all, one) > 0)
        return true;
    GENERAL_NAME_free(one);
    return false;
}

static bool add_names(X509 *x, const char *const *names, size_t n)
{
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    bool ok = all != NULL;

    for (size_t i = 0; ok && i < n; i++)
        ok = add_name(all, names[i]);
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) > 0;
    GENERAL_NAMES_free(all);
    return ok;
}

static bool add_ext(X509 *x, int nid, const char *value)
{
    X509V3_CTX v3;
    X509_EXTENSION *ext;
    bool ok;

    X509V3_set_ctx(&v3, x, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    ok = ext && X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

/* A random positive serial number of 127 bits (RFC 5280 4.1.2.2). */
static bool set_serial(X509 *x)
{
    uint8_t b[16];
    BIGNUM *n;
    bool ok;

    if (RAND_bytes(b, sizeof(b)) <= 0)
        return false;
    b[0] = (b[0] & 0x7f) | 0x40;
    n = BN_bin2bn(b, sizeof(b), NULL);
    ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool set_subject(X509 *x, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(x);
    const char *cn = strlen(name) <= CN_MAX ? name : "mqvpn";

    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1,
                                      0) &&
           X509_set_issuer_name(x, subject);
}

static bool fill(X509 *x, EVP_PKEY *key, const char *const *names, size_t n, unsigned days,
                 int64_t now)
{
    return X509_set_version(x, X509_VERSION_3) && set_serial(x) && set_subject(x, names[0]) &&
           ASN1_TIME_adj(X509_getm_notBefore(x), (time_t)now, -1, 0) &&
           ASN1_TIME_adj(X509_getm_notAfter(x), (time_t)now, (int)days, 0) &&
           X509_set_pubkey(x, key) && add_names(x, names, n) &&
           add_ext(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_ext(x, NID_key_usage, "critical,digitalSignature") &&
           add_ext(x, NID_ext_key_usage, "serverAuth") &&
           add_ext(x, NID_subject_key_identifier, "hash") &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

/* The text that was written into a memory BIO. */
static bool take_text(BIO *bio, struct tls_pem *out)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);

    out->p = n > 0 ? malloc((size_t)n + 1) : NULL;
    if (!out->p)
        return false;
    memcpy(out->p, data, (size_t)n);
    out->p[n] = '\0';
    out->n = (size_t)n;
    return true;
}

static bool to_pem(X509 *x, EVP_PKEY *pkey, struct tls_pem *cert, struct tls_pem *key)
{
    BIO *c = BIO_new(BIO_s_mem()), *k = BIO_new(BIO_s_secmem());
    bool ok = c && k && PEM_write_bio_X509(c, x) &&
              PEM_write_bio_PrivateKey(k, pkey, NULL, NULL, 0, NULL, NULL) &&
              take_text(c, cert) && take_text(k, key);

    BIO_free(c);
    BIO_free(k);
    return ok;
}

int tls_make_cert(const char *const *names, size_t n, unsigned days, int64_t now,
                  struct tls_pem *cert, struct tls_pem *key)
{
    EVP_PKEY *pkey;
    X509 *x;
    bool ok;

    *cert = *key = (struct tls_pem){0};
    if (n == 0 || days == 0 || days > DAYS_MAX)
        return QUIC_INVAL;
    for (size_t i = 0; i < n; i++) {
        if (!name_ok(names[i]))
            return QUIC_INVAL;
    }
    pkey = EVP_EC_gen("P-256");
    x = X509_new();
    ok = pkey && x && fill(x, pkey, names, n, days, now) && to_pem(x, pkey, cert, key);
    X509_free(x);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    if (ok)
        return 0;
    tls_pem_free(cert);
    tls_pem_free(key);
    return QUIC_NOMEM;
}

int tls_x509_pin(const X509 *x, uint8_t pin[TLS_PIN])
{
    uint8_t *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    bool ok = n > 0 && EVP_Digest(der, (size_t)n, pin, NULL, EVP_sha256(), NULL);

    OPENSSL_free(der);
    return ok ? 0 : QUIC_NOMEM;
}

/* No pass phrase: without this, libcrypto might ask on the terminal. */
static int no_phrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)ctx;
    return 0;
}

int tls_spki_pin(struct span cert_pem, uint8_t pin[TLS_PIN])
{
    BIO *bio;
    X509 *x;
    int err;

    if (cert_pem.n == 0 || cert_pem.n > INT32_MAX)
        return QUIC_INVAL;
    bio = BIO_new_mem_buf(cert_pem.p, (int)cert_pem.n);
    if (!bio)
        return QUIC_NOMEM;
    x = PEM_read_bio_X509(bio, NULL, no_phrase, NULL);
    err = x ? tls_x509_pin(x, pin) : QUIC_INVAL;
    X509_free(x);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

char *tls_pin_text(const uint8_t pin[TLS_PIN], char out[TLS_PIN_TEXT])
{
    memcpy(out, "sha256/", 7);
    EVP_EncodeBlock((uint8_t *)out + 7, pin, TLS_PIN);
    return out;
}

int tls_pin_parse(const char *text, uint8_t pin[TLS_PIN])
{
    uint8_t b[PIN_BASE64 / 4 * 3];
    char again[TLS_PIN_TEXT];
    const char *base64 = text;

    if (strncmp(text, "sha256/", 7) == 0)
        base64 += text[7] == '/' && strlen(text) > 7 + PIN_BASE64 ? 8 : 7;
    if (strlen(base64) != PIN_BASE64 ||
        EVP_DecodeBlock(b, (const uint8_t *)base64, PIN_BASE64) != (int)sizeof(b)) {
        ERR_clear_error();
        return QUIC_INVAL;
    }
    /* Only the one right spelling: no white space inside, no stray bits at the end. */
    tls_pin_text(b, again);
    if (strcmp(again + 7, base64) != 0)
        return QUIC_INVAL;
    memcpy(pin, b, TLS_PIN);
    return 0;
}
