# inih: one plain C file, with the settings that distributions build it with: lines of any
# length, on the heap.
# Run by deps/get.sh in the unpacked source; $1 is the prefix, $2 the number of jobs.

"$CC" -O2 -g -fPIC -DINI_USE_STACK=0 -DINI_ALLOW_REALLOC=1 -DINI_MAX_LINE=65536 \
    -c ini.c -o ini.o
rm -f libinih.a
ar rcs libinih.a ini.o
mkdir -p "$1/include" "$1/lib"
cp ini.h "$1/include/"
cp libinih.a "$1/lib/"
