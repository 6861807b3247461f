// Predicts with Java's own HTTP client as it comes: it offers HTTP/2 with each request over plain text.
// Usage: java Predict.java URL SMALL_BODY_FILE LARGE_BODY_FILE; prints "STATUS VERSION BODY" for each of four requests.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.time.Duration;

public class Predict {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int turn = 0; turn < 2; turn++) {
            for (int body = 1; body <= 2; body++) {
                var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                        .header("Content-Type", "application/json")
                        .timeout(Duration.ofSeconds(60))
                        .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[body])))
                        .build();
                var response = client.send(request, BodyHandlers.ofString());
                System.out.println(response.statusCode() + " " + response.version() + " " + response.body());
            }
        }
    }
}
