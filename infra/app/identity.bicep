// The app's identity, as a resource of its own: it outlives the app, and with it what Exchange and others grant to it.

@description('Its name.')
param name string

@description('Where it is kept.')
param location string

param tags object = {}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

@description('Its resource id.')
output id string = identity.id

@description('The client id, by which the app asks for its tokens.')
output clientId string = identity.properties.clientId

@description('The object id, to which rights are given.')
output principalId string = identity.properties.principalId
