#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "quic/cert.h"
#include "test/quic_hex.h"

#define NOW 1800000000 /* 2027-01-15T08:00:00Z */

static X509 *read_cert(const struct tls_pem *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->n);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert_non_null(x);
    return x;
}

static EVP_PKEY *read_key(const struct tls_pem *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->n);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert_non_null(key);
    return key;
}

static void test_make(void **state)
{
    static const char *const names[] = {"vpn.example.net", "*.example.org", "192.0.2.7",
                                        "2001:db8::7"};
    struct tls_pem cert, key, cert2, key2;
    EVP_PKEY *pkey;
    X509 *x;
    char cn[100];
    time_t before = NOW - 86400 - 1, after = NOW + 3650 * (time_t)86400 + 1, t;

    (void)state;
    assert_int_equal(tls_make_cert(names, 4, 3650, NOW, &cert, &key), 0);
    assert_int_equal(strlen(cert.p), cert.n);
    assert_int_equal(strlen(key.p), key.n);
    x = read_cert(&cert);
    pkey = read_key(&key);
    assert_int_equal(X509_check_private_key(x, pkey), 1);
    assert_int_equal(X509_verify(x, pkey), 1);
    assert_string_equal(EVP_PKEY_get0_type_name(pkey), "EC");
    assert_int_equal(EVP_PKEY_get_bits(pkey), 256);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(X509_check_host(x, i ? "a.example.org" : names[0], 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x, "a.b.example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(x, names[2], 0), 1);
    assert_int_equal(X509_check_ip_asc(x, names[3], 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "192.0.2.8", 0), 0);
    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn,
                                          sizeof(cn)) > 0);
    assert_string_equal(cn, names[0]);
    assert_int_equal(X509_check_ca(x), 0);
    assert_int_equal(X509_get_version(x), X509_VERSION_3);

    t = NOW - 86400;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(x), &before), 1);
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(x), &t),
                     -1); /* equal counts as before */
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(x), &after), -1);

    /* Another one has another key and serial number. */
    assert_int_equal(tls_make_cert(names, 1, 1, NOW, &cert2, &key2), 0);
    assert_string_not_equal(key.p, key2.p);
    X509 *x2 = read_cert(&cert2);
    assert_int_not_equal(
        ASN1_INTEGER_cmp(X509_get0_serialNumber(x), X509_get0_serialNumber(x2)), 0);
    X509_free(x2);
    X509_free(x);
    EVP_PKEY_free(pkey);
    tls_pem_free(&cert);
    tls_pem_free(&key);
    tls_pem_free(&cert2);
    tls_pem_free(&key2);
    assert_null(cert.p);
    tls_pem_free(&cert);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_make_refused(void **state)
{
    char over[255];
    const char *const too_long[] = {over}, *const empty[] = {""}, *const blank[] = {"a b"},
                      *const good[] = {"a"}, *const second[] = {"a", "\x01"};
    struct tls_pem cert, key;

    (void)state;
    memset(over, 'a', 254);
    over[254] = '\0';
    assert_int_equal(tls_make_cert(good, 0, 10, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(good, 1, 0, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(good, 1, 36501, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(empty, 1, 10, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(blank, 1, 10, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(second, 2, 10, NOW, &cert, &key), QUIC_INVAL);
    assert_int_equal(tls_make_cert(too_long, 1, 10, NOW, &cert, &key), QUIC_INVAL);
    assert_null(cert.p);
    assert_null(key.p);
    /* The longest one doesn't fit a common name, and is fine all the same. */
    over[253] = '\0';
    assert_int_equal(tls_make_cert(too_long, 1, 36500, NOW, &cert, &key), 0);
    tls_pem_free(&cert);
    tls_pem_free(&key);
}

/* `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` of this one. */
static const char known_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBgjCCASegAwIBAgIUNiY0rZquYQFibQhMfYD3px4XyAUwCgYIKoZIzj0EAwIw\n"
    "FjEUMBIGA1UEAwwLcGluLmV4YW1wbGUwHhcNMjYxMTIxMTAyNjExWhcNMzYxMTE4\n"
    "MTAyNjExWjAWMRQwEgYDVQQDDAtwaW4uZXhhbXBsZTBZMBMGByqGSM49AgEGCCqG\n"
    "SM49AwEHA0IABFXhGot/GvOMMPI6UNNgrDkbgD6081XPaa+nmnpf+ls71sIkIPpt\n"
    "oZbI6xIEakaauC/cJno1T1T80aejlw3i+ISjUzBRMB0GA1UdDgQWBBSpmZ5ycRkN\n"
    "9krBfjn33yeFDBaxNjAfBgNVHSMEGDAWgBSpmZ5ycRkN9krBfjn33yeFDBaxNjAP\n"
    "BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQDpOHCEtixrg9Gwn6t/\n"
    "cCoZ5VMRUb91KLzKGBYi6qCvOwIhAKLs+LAtBTIIoKBDqufif6IWt+SD04DvjSSK\n"
    "XhBbYtsx\n"
    "-----END CERTIFICATE-----\n";
static const char known_pin[] = "sha256/J6HP2QGnTEQGAIuBfO7BA4c7QdEfkG0HuAHRJDTibLY=";

static void test_pin_known(void **state)
{
    uint8_t pin[TLS_PIN], parsed[TLS_PIN];
    char text[TLS_PIN_TEXT];

    (void)state;
    assert_int_equal(tls_spki_pin(span_of(known_cert, sizeof(known_cert) - 1), pin), 0);
    assert_string_equal(tls_pin_text(pin, text), known_pin);
    assert_int_equal(tls_pin_parse(known_pin, parsed), 0);
    assert_memory_equal(pin, parsed, TLS_PIN);
}

/* A pin outlives its certificate: the same key in another one has the same pin. */
static void test_pin_key(void **state)
{
    static const char *const names[] = {"a.example"};
    struct tls_pem cert, key, cert2, key2;
    uint8_t a[TLS_PIN], b[TLS_PIN];

    (void)state;
    assert_int_equal(tls_make_cert(names, 1, 10, NOW, &cert, &key), 0);
    assert_int_equal(tls_make_cert(names, 1, 10, NOW, &cert2, &key2), 0);
    assert_int_equal(tls_spki_pin(tls_pem_span(&cert), a), 0);
    assert_int_equal(tls_spki_pin(tls_pem_span(&cert2), b), 0);
    assert_memory_not_equal(a, b, TLS_PIN);
    assert_int_equal(tls_spki_pin(tls_pem_span(&key), a), QUIC_INVAL);
    assert_int_equal(tls_spki_pin(SPAN_LIT(""), a), QUIC_INVAL);
    assert_int_equal(tls_spki_pin(SPAN_LIT("no certificate"), a), QUIC_INVAL);
    assert_int_equal(ERR_peek_error(), 0);
    tls_pem_free(&cert);
    tls_pem_free(&key);
    tls_pem_free(&cert2);
    tls_pem_free(&key2);
}

static void test_pin_text(void **state)
{
    static const struct {
        const char *text;
        int err;
    } cases[] = {
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0},
        {"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0},
        {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0},
        {"sha256///////////////////////////////////////////8=", 0},
        {"", QUIC_INVAL},
        {"sha256/", QUIC_INVAL},
        {"sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", QUIC_INVAL}, /* stray bits */
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA=", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAA=", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAA=", QUIC_INVAL},
        {"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ", QUIC_INVAL},
    };
    uint64_t seed = 3;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t pin[TLS_PIN];

        if (tls_pin_parse(cases[i].text, pin) != cases[i].err)
            fail_msg("%s", cases[i].text);
    }
    for (int i = 0; i < 1000; i++) {
        uint8_t pin[TLS_PIN], back[TLS_PIN];
        char text[TLS_PIN_TEXT];

        rand_bytes(&seed, pin, sizeof(pin));
        if (i % 4 == 0)
            pin[0] = 0xff; /* base64 that starts with a slash */
        assert_int_equal(strlen(tls_pin_text(pin, text)), TLS_PIN_TEXT - 1);
        assert_int_equal(tls_pin_parse(text, back), 0);
        assert_memory_equal(pin, back, sizeof(pin));
        assert_int_equal(tls_pin_parse(text + 7, back), 0);
        assert_memory_equal(pin, back, sizeof(pin));
    }
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),      cmocka_unit_test(test_make_refused),
        cmocka_unit_test(test_pin_known), cmocka_unit_test(test_pin_key),
        cmocka_unit_test(test_pin_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
