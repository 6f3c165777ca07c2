# OpenSSL: static, only what TLS 1.3 over QUIC needs. Its own QUIC stack is left out ("no-quic"),
# the callback interface for other stacks (SSL_set_quic_tls_cbs) stays.
# Run by deps/get.sh in the unpacked source; $1 is the prefix, $2 the number of jobs.

off="shared tests apps docs legacy engine module dso quic dtls ssl3 tls1 tls1_1 tls1_2 comp srp
     srtp psk ct cms cmp ts ocsp http rfc3779 dh dsa ec2m des idea rc2 rc4 rc5 bf cast camellia
     seed aria sm2 sm3 sm4 gost md4 mdc2 rmd160 whirlpool blake2 argon2 scrypt siphash siv ocb
     slh-dsa nextprotoneg multiblock async thread-pool ui-console ssl-trace unit-test sock dgram
     tfo deprecated"

# Certificates are looked for where the system keeps them, not below the build folder.
if [ ! -f configured ]; then
    perl ./Configure --prefix=/usr --libdir=lib --openssldir=/etc/ssl \
        $(for o in $off; do echo "no-$o"; done)
    : >configured
fi
make -j "$2" build_libs
make DESTDIR="$PWD/stage" install_dev
mkdir -p "$1/include" "$1/lib"
rm -rf "$1/include/openssl"
cp -R stage/usr/include/openssl "$1/include/"
cp stage/usr/lib/libssl.a stage/usr/lib/libcrypto.a "$1/lib/"
