// Every right that is given, each with its reason. Deployed twice: where the app is, and where its mail is, since mail may be
// in an account of another resource group. What is named empty is not given anything on.

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of them, who puts secrets into the vault and runs the command against this storage. Empty: nobody gets these rights.')
param operatorPrincipalId string = ''

@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param operatorPrincipalType string = 'User'

@description('The app\'s own storage account.')
param storageName string = ''
param leaseContainer string = ''
param vaultName string = ''
param insightsName string = ''

@description('The mail\'s storage account.')
param mailStorageName string = ''
param mailContainer string = ''
param mailTables array = []

var blobOwner = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
var blobContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
var queueContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
var tableContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
var secretsUser = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
var secretsOfficer = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
var metricsPublisher = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')

var appSide = !empty(storageName)
var mailSide = !empty(mailStorageName)
var operator = !empty(operatorPrincipalId)
var operatorTablesHere = operator ? mailTables : []

// Where there is none, a name stands in that is nobody's: conditions are looked at after names are.
resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: appSide ? storageName : 'unused'
}

resource storageBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: storage
  name: 'default'
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: storageBlobs
  name: appSide ? leaseContainer : 'unused'
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: appSide ? vaultName : 'unused'
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: appSide ? insightsName : 'unused'
}

resource mailStorage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: mailSide ? mailStorageName : 'unused'
}

resource mailBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource mail 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: mailBlobs
  name: mailSide ? mailContainer : 'unused'
}

resource mailTableService 'Microsoft.Storage/storageAccounts/tableServices@2023-05-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-05-01' existing = [for table in mailTables: {
  parent: mailTableService
  name: table
}]

// The host: locks of its timers, its keys, the package. It makes containers as it needs them, so the whole account it is;
// there is nothing else in it but our leases.
resource appOwnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, blobOwner)
  scope: storage
  properties: {
    roleDefinitionId: blobOwner
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// The functions' queues: the host takes and removes messages and makes poison queues, the app sends, and looks how long they
// are.
resource appQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// The host's diagnostic events: what is wrong with an app that does not start stands in a table of its own account.
resource appOwnTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, tableContributor)
  scope: storage
  properties: {
    roleDefinitionId: tableContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// References in the app settings. It reads secrets, lists none, writes none.
resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(vault.id, appPrincipalId, secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: secretsUser
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// Telemetry by token: keys are off.
resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    roleDefinitionId: metricsPublisher
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// Messages, results and records: written, read for routing, and removed when they are forgotten. This container alone.
resource appMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mailSide) {
  name: guid(mail.id, appPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// Receipts, claims and the like, table by table: the account may have others'.
resource appTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, number) in mailTables: {
  name: guid(mailStorage.id, table, appPrincipalId, tableContributor)
  scope: tables[number]
  properties: {
    roleDefinitionId: tableContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

// Who looks after the app puts the mailboxes' secrets there, and changes them.
resource operatorSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(vault.id, operatorPrincipalId, secretsOfficer)
  scope: vault
  properties: {
    roleDefinitionId: secretsOfficer
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// mailroom replay announces messages again, mailroom status counts what waits.
resource operatorQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(storage.id, operatorPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// mailroom run-once holds a mailbox's lease, so that it and the app never drain one together.
resource operatorLeases 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(leases.id, operatorPrincipalId, blobContributor)
  scope: leases
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// mailroom find shows where a message is, mailroom forget removes it; config/routes.json is the operator's to write.
resource operatorMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mailSide && operator) {
  name: guid(mail.id, operatorPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// mailroom status, find, enable and forget: what is known of mailboxes and messages.
resource operatorTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, number) in operatorTablesHere: {
  name: guid(mailStorage.id, table, operatorPrincipalId, tableContributor)
  scope: tables[number]
  properties: {
    roleDefinitionId: tableContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}]
