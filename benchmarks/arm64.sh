#!/usr/bin/env bash
# The wheel and its dependencies on arm64, run by qemu's user-mode emulation: does the shipped bundle give its golden
# outputs there, and are sounds explained and searched?
#
#     sudo benchmarks/arm64.sh WORK [EARMARK ARGUMENTS...]
#
# WORK is a folder for the root file system (Debian's minbase with python3, 400 MB) and the wheels; what is there is used
# again. With arguments, `earmark ARGUMENTS` is run in their place, on the last of the processors.
# Needs Debian or a relative with debootstrap and qemu-user-static, and pip in the active Python. PROCESSORS names
# others of qemu's (`qemu-aarch64-static -cpu help`), SUITE another release. Slow is what emulation makes it: a minute
# for a processor.
set -euo pipefail
work=$(mkdir -p "$1" && cd "$1" && pwd)
shift
source=$(cd "$(dirname "$0")/.." && pwd)
root=$work/root
# Raspberry Pi 4; Raspberry Pi 5 and the instructions of Jetson Orin; all that qemu knows (SVE).
processors=${PROCESSORS:-cortex-a72 cortex-a76 max}

if [ ! -x "$root/usr/bin/python3" ]; then
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 "${SUITE:-bookworm}" "$root" > "$work/debootstrap.log"
    # Unpacked here: the second stage would configure every package under emulation, which nothing below needs.
    for package in "$root"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -C "$root" -xk 2> /dev/null || true
    done
    # debootstrap links it to this machine's.
    [ ! -L "$root/proc" ] || rm "$root/proc"
    mkdir -p "$root/proc" "$root/sys" "$root/dev"
fi
python=$(basename "$(readlink "$root/usr/bin/python3")")

rm -rf "$work/wheel" "$root/opt/earmark"
python3 -m pip wheel -q --no-deps "$source" -w "$work/wheel"
platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64)
python3 -m pip install -qq --target "$root/opt/earmark" "${platforms[@]}" --only-binary=:all: \
    --implementation cp --python-version "${python#python}" "$(echo "$work"/wheel/earmark-*.whl)[cpu]"

# Programs of arm64 start by themselves where binfmt_misc knows qemu (Debian registers it when it starts).
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || mount -t binfmt_misc none $formats
[ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > $formats/register

# Its own mounts end with it. onnxruntime chooses its kernels by /proc/cpuinfo and /sys, which are this machine's
# under qemu: they become those of an arm64 of the same number of cores. The instructions are qemu's (QEMU_CPU).
inside() {
    # shellcheck disable=SC2016
    unshare --mount --propagation private bash -euc '
        root=$0 last=$(($(nproc) - 1))
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/sys"
        mkdir -p "$root/sys/devices/system/cpu"
        echo "0-$last" | tee "$root/sys/devices/system/cpu/possible" > "$root/sys/devices/system/cpu/present"
        for core in $(seq 0 $last); do
            printf "processor\t: %s\nFeatures\t: fp asimd aes pmull sha1 sha2 crc32\n" "$core"
            printf "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
        done > "$root/sys/cpuinfo"
        mount --bind "$root/sys/cpuinfo" "$root/proc/cpuinfo"
        exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONPATH=/opt/earmark "$@"
    ' "$root" "QEMU_CPU=$processor" python3 -m earmark.cli "$@"
}

if [ $# -gt 0 ]; then
    processor=${processors##* }
    inside "$@"
    exit
fi
for processor in $processors; do
    printf '\n== %s\n' "$processor"
    inside doctor
    inside verify
    inside explain --seed 0
    inside detect /opt/earmark/earmark/runtime/shipped/example.flac --explain mask
done
