# Each test prints its name and what came of it; the first that fails ends the whole.
set -eu
expect() {
    if [ "$2" = "$3" ]; then
        echo "ok - $1"
    else
        echo "not ok - $1: expected '$2', got '$3'"
        exit 1
    fi
}
expect "greets the world by default" "Hello, world." "$(sh greeting.sh)"
expect "greets by name" "Hello, Ada." "$(sh greeting.sh Ada)"
expect "keeps spaces in a name" "Hello, Ada Lovelace." "$(sh greeting.sh "Ada Lovelace")"
