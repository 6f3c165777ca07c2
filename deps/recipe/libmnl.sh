# libmnl: four plain C files.
# Run by deps/get.sh in the unpacked source; $1 is the prefix, $2 the number of jobs.

"$CC" -O2 -g -fPIC -D_GNU_SOURCE -Iinclude -Isrc -c src/*.c
rm -f libmnl.a
ar rcs libmnl.a ./*.o
mkdir -p "$1/include/libmnl" "$1/lib"
cp include/libmnl/libmnl.h "$1/include/libmnl/"
cp libmnl.a "$1/lib/"
