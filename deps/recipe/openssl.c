#include <openssl/core.h>
#include <openssl/opensslv.h>
#include <openssl/ssl.h>

#if defined(LIBRESSL_VERSION_NUMBER) || defined(OPENSSL_IS_BORINGSSL)
#error "not OpenSSL"
#endif
#if OPENSSL_VERSION_NUMBER < 0x30500000L
#error "older than 3.5"
#endif

/*
 * Header and library must agree, and the interface must really be there. A table without the
 * mandatory callbacks is refused by it.
 */
int main(void)
{
    static const OSSL_DISPATCH none[] = {{0, NULL}};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    if (!ssl || OpenSSL_version_num() >> 20 != OPENSSL_VERSION_NUMBER >> 20)
        return 1;
    SSL_set_connect_state(ssl);
    if (SSL_set_quic_tls_cbs(ssl, none, NULL))
        return 1;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return 0;
}
