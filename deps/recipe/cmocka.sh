# cmocka: one plain C file.
# Run by deps/get.sh in the unpacked source; $1 is the prefix, $2 the number of jobs.

"$CC" -O2 -g -fPIC -D_GNU_SOURCE -Iinclude -Isrc \
    -DHAVE_SIGNAL_H -DHAVE_SETJMP_H -DHAVE_STRINGS_H -DHAVE_STDINT_H -DHAVE_INTTYPES_H \
    -DHAVE_UNISTD_H -DHAVE_TIME_H -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_GETTIME \
    -DHAVE_CLOCK_REALTIME -DHAVE_STRSIGNAL -DHAVE_SNPRINTF -DHAVE_VSNPRINTF -DHAVE_SETENV \
    -DHAVE_GCC_THREAD_LOCAL_STORAGE -c src/cmocka.c -o cmocka.o
rm -f libcmocka.a
ar rcs libcmocka.a cmocka.o
mkdir -p "$1/include" "$1/lib"
cp include/cmocka*.h "$1/include/"
cp libcmocka.a "$1/lib/"
