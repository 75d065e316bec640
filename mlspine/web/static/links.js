// MLflow's clients print links to this port as if MLflow's pages were at its root: they are below mlflow/.
if (location.hash.startsWith("#/")) location.replace("mlflow/" + location.hash);
