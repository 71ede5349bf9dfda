# SPDX-License-Identifier: Apache-2.0
# Builds on Windows itself and runs the same suites there. Untested: this project's machines run Linux only; what CI runs
# is the same build under wine (docs/windows.md).
#
#   MSYS2: pacman -S mingw-w64-clang-x86_64-{clang,meson,ninja,jansson,cmocka,python-pytest}; then, in PowerShell:
#   $env:Path = 'C:\msys64\clang64\bin;' + $env:Path; scripts\windows-test.ps1 [-Build DIR] [-Suite NAME]
param(
    [string]$Build = 'build-native',
    [string]$Suite = ''
)
$ErrorActionPreference = 'Stop'

foreach ($tool in 'clang', 'meson', 'ninja') {
    if (-not (Get-Command $tool -ErrorAction SilentlyContinue)) {
        Write-Error "windows-test: $tool is not in PATH - install MSYS2's CLANG64 packages named in this file"
        exit 3
    }
}
$root = Split-Path -Parent $PSScriptRoot
# clang as on Linux: gcc emulates thread-local variables on Windows, which would be measured instead of the allocators.
$env:CC = 'clang'
if (-not (Test-Path "$Build/build.ninja")) {
    meson setup $Build $root
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}
ninja -C $Build
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
# The runner suite is a Python program that starts wine; all others are programs of this build.
$arguments = @('test', '-C', $Build, '--no-rebuild', '--print-errorlogs')
if ($Suite) { $arguments += @('--suite', $Suite) } else { $arguments += @('--no-suite', 'runner') }
meson @arguments
exit $LASTEXITCODE
