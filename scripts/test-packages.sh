#!/usr/bin/env bash
# Installs what the tests need: test-packages.sh PYTHON_ENV_FOLDER
set -euo pipefail
python_env=$1
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
missing=()
for package in python3-venv curl e2fsprogs; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
[ -x "$python_env/bin/python" ] || python3 -m venv "$python_env"
"$python_env/bin/pip" install --quiet --disable-pip-version-check -r "$(dirname "$0")/../tests/clients/requirements.txt"

# Programs that tests compare with or drive. They are unpacked, not installed: nothing of them starts by itself.
debian="$python_env/debian"
for package in prometheus prometheus-alertmanager; do
  [ -e "$debian/$package" ] && continue
  mkdir -p "$debian/download"
  (cd "$debian/download" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb "$debian")
  touch "$debian/$package"
done
rm -rf "$debian/download"
# Alertmanager reads its templates from this place alone.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ]; then
  $sudo mkdir -p "$templates"
  $sudo cp "$debian$templates"/*.tmpl "$templates"
fi
