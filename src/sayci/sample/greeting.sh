# Greets whoever is named; the whole product of the sample project.
echo "Hello, ${1:-world}."
