#!/bin/sh
# Installs the Debian packages that the tests use as peers: with apt when root, else it says what is missing.
set -eu

# command that proves it, and the package that brings it
needed="
redis-server:redis-server
storescu:dcmtk
Orthanc:orthanc
dciodvfy:dicom3tools
DicomSRValidator:pixelmed-apps
chromium:chromium
npm:npm
promtool:prometheus
haproxy:haproxy
ip:iproute2
systemd-analyze:systemd
"
missing=""
for pair in $needed; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair##*:}"
done
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
[ -e /usr/share/orthanc/plugins/libOrthancGdcm.so ] || missing="$missing orthanc-gdcm"
[ -e /usr/lib/python3/dist-packages/swift/proxy/server.py ] || missing="$missing python3-swift"
[ -e /usr/share/fonts/truetype/wqy/wqy-microhei.ttc ] || missing="$missing fonts-wqy-microhei"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "the tests need these Debian packages; install them and run again:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi
echo "installing$missing"
apt-get update -q >/dev/null
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
