# liburing: static. Its configure writes a compat.h that matches this machine's kernel headers.
# Run by deps/get.sh in the unpacked source; $1 is the prefix, $2 the number of jobs.

./configure --prefix=/usr --cc="$CC"
make -j "$2" -C src ENABLE_SHARED=0 liburing.a
mkdir -p "$1/include/liburing" "$1/lib"
cp src/include/liburing.h "$1/include/"
cp src/include/liburing/*.h "$1/include/liburing/"
cp src/liburing.a "$1/lib/"
