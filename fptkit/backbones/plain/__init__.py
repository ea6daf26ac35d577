"""What is left where the sequence model is taken out: nothing, or one attention layer. Controls, trained anew."""
